"""A small world around the real protocol: disks, authorities, processes with replicas, and a network that is a bag of messages.

Everything that decides is the code under test: `Replica`, `Pulse`, `prepare_reading`, `next_epoch`, `next_version`,
`plan_answer` and `is_same`. The world carries their decisions out as drivers do, and lets go wrong what can go wrong; the
witness watches, and blames whoever breaks a promise. A message may wait in the bag as long as it likes, and no proof grows too
old; time only counts what happens, so that it shows which came first.

A bus loses, repeats, delays and reorders as the actions say. In process (`lossless`) what is published arrives at once, and
only answers are slow or missing.
"""

from __future__ import annotations

import zlib
from typing import Final

import attrs

from parasync.protocol import BEAT_NAMES_MAX, Ask, Asked, Envelope, GapPolicy, Replica, Version, _reading
from tests.protocol import kit
from tests.protocol.kit import Text
from tests.protocol.realm import LIFE, Answering, Asking, Beating, Live, Message, Realm, Serving
from tests.protocol.witness import Watched

ROGUES: Final = {
    "next": (0, 1, "rogue"),
    "far": (0, 8, "rogue"),
    "far, unreadable": (0, 8, "bad rogue"),
    "of a far life": (50 * LIFE, 0, "rogue"),
    "of a far life, unreadable": (50 * LIFE, 0, "bad rogue"),
}
"""Frames that nobody wrote: how far above all versions they are, in epochs and sequences, and what they hold."""


@attrs.define
class Listener:
    """A replica, and its place in the eyes of the witness."""

    key: str
    replica: Replica[str]
    watched: Watched


@attrs.define
class Pending:
    """The one ask of a process that is under way."""

    ident: int
    moment: int
    asking: list[tuple[Listener, Asked]]


@attrs.define
class Process:
    """Replicas that share their asks."""

    listeners: list[Listener] = attrs.Factory(list)
    pending: Pending | None = None

    def has_need(self) -> bool:
        return any(listener.replica.need_open for listener in self.listeners)


class World(Realm):
    """See the module. Each public method that a test calls is one action; `check` after it lets the witness look."""

    def __init__(
        self,
        *disks: str,
        lossless: bool = False,
        askable: bool = True,
        checksums: bool = True,
        gap: GapPolicy = "refetch",
        beats: bool = False,
        names_max: int = BEAT_NAMES_MAX,
        grace_s: float = 0.0,
    ) -> None:
        super().__init__(disks or ("disk",), lossless=lossless, checksums=checksums, beats=beats, names_max=names_max)
        self.askable = askable
        self.gap = gap
        self.grace_s = grace_s
        self.processes: dict[str, Process] = {}
        self.network: list[Message] = []
        self.asks = 0

    def check(self) -> None:
        """Let the witness look at everything."""
        serving = self.serving()
        self.witness.look(self.truth_of(serving[0]) if self.lossless and serving else None)

    def listeners(self) -> list[Listener]:
        """All replicas."""
        return [listener for process in self.processes.values() for listener in process.listeners]

    # What authorities need of the world

    def carry(self, message: Message) -> None:
        """Into the bag; in process, what is published arrives at once."""
        if self.lossless and isinstance(message, Live | Serving):
            self._arrive(message)
        else:
            self.network.append(message)

    def audience(self, key: str | None) -> list[str]:
        """The processes that listen to a key, or all."""
        return [
            name
            for name, process in self.processes.items()
            if key is None or any(listener.key == key for listener in process.listeners)
        ]

    def epochs_heard(self) -> list[int]:
        """What replicas tell to those who probe."""
        return [listener.replica.current_epoch for listener in self.listeners()]

    # Readers

    def join(self, process: str = "P", key: str = "k", *, seed: Version | None = None) -> Listener:
        """One more replica."""
        replica: Replica[str] = Replica(
            kit.read, lossless=self.lossless, askable=self.askable, gap=self.gap, stale_after_s=1e9
        )
        if seed is not None:
            replica.seed_received(Envelope("seed", "1.0", seed.sequence, seed.epoch), "seed")
        self.moment += 1
        listener = Listener(key, replica, self.witness.joined(key, replica, self.moment))
        self.processes.setdefault(process, Process()).listeners.append(listener)
        return listener

    def interrupt(self, process: str = "P", index: int = 0) -> None:
        """Something may have been lost; a read that demands currency is the same."""
        self._doubt(self.processes[process].listeners[index], "interrupted")

    def ask(self, process: str = "P") -> None:
        """One ask for all needs of a process."""
        waiting = [listener for listener in self.processes[process].listeners if listener.replica.need_open]
        asking = [(listener, listener.replica.asked()) for listener in waiting]
        self.asks += 1
        self.moment += 1
        self.processes[process].pending = Pending(self.asks, self.moment, asking)
        epoch = max(listener.replica.current_epoch for listener in waiting)
        positions = tuple(asked.position for _, asked in asking)
        self.carry(Asking(process, self.asks, Ask(epoch, tuple(listener.key for listener in waiting), positions)))

    def timeout(self, process: str = "P") -> None:
        """No answer came in time; one that comes later is not heard."""
        pending, self.processes[process].pending = self.processes[process].pending, None
        for listener, _ in [] if pending is None else pending.asking:
            had_need = listener.replica.need_open
            listener.replica.ask_failed("no answer")
            self.witness.ask_failed(listener.watched, had_need)

    def look_again(self, process: str = "P", index: int = 0) -> None:
        """What a beat named had its time to come."""
        listener = self.processes[process].listeners[index]
        listener.replica.time_passed(listener.replica.look_again_s)
        self.witness.grace_passed(listener.watched)

    def _doubt(self, listener: Listener, reason: str) -> None:
        self.moment += 1
        listener.replica.need_raised(reason)
        self.witness.doubted(listener.watched, self.moment)

    # The network

    def deliver(self, index: int = 0, name: str = "A", *, heard: bool = True) -> None:
        """One of the messages arrives; an ask reaches the authority of this name, which hears of rivals or not."""
        message = self.network.pop(index)
        self.moment += 1
        if isinstance(message, Asking):
            self.serve(name, message, heard=heard)
        else:
            self._arrive(message)

    def lose(self, index: int = 0) -> None:
        """One of the messages never arrives."""
        self.lost_unnoticed = True
        del self.network[index]

    def duplicate(self, index: int = 0) -> None:
        """One of the messages arrives once more than it was sent."""
        self.network.append(self.network[index])

    def rogue(self, process: str = "P", index: int = 0, form: str = "next") -> None:
        """Somebody publishes in the authority's name what no authority wrote."""
        listener = self.processes[process].listeners[index]
        epochs, sequences, value = ROGUES[form]
        known = [disk.objects[listener.key].version for disk in self.disks.values() if listener.key in disk.objects]
        held = [listener.replica.held.version] if listener.replica.held is not None else []
        newest = max([Version(1, 1), *known, *held])
        self.witness.forked = True
        # What is far above everything else may still follow what somebody else like this has published.
        no_gap = self.gap == "apply" or any(other.watched.misled for other in self.listeners())
        self.lost_unnoticed |= form == "next" or (form == "far" and no_gap)
        checksum = zlib.crc32(f"{value} {self.asks} {len(self.network)}".encode())
        envelope: Text = Envelope(value, "1.0", newest.sequence + sequences, newest.epoch + epochs, checksum=checksum)
        self.network.append(Live(process, listener.key, envelope))

    def _arrive(self, message: Live | Answering | Serving | Beating) -> None:
        if isinstance(message, Live):
            self._hear(self.processes[message.to], message)
        elif isinstance(message, Answering):
            self._learn(self.processes[message.to], message)
        elif message.to in self.authorities:
            self.told_of(message.to, message.beat.epoch if isinstance(message, Beating) else message.epoch)
        elif isinstance(message, Beating):
            for listener in self.processes[message.to].listeners:
                self._feel(listener, message)
        else:
            for listener in self.processes[message.to].listeners:
                if message.epoch != listener.replica.current_epoch:
                    self._doubt(listener, "another life of the authority serves")

    def _feel(self, listener: Listener, message: Beating) -> None:
        """A replica hears a beat; one of another life than the highest that it has heard is a doubt."""
        replica, had_need, beat = listener.replica, listener.replica.need_open, message.beat
        if beat.epoch != replica.current_epoch:
            self.witness.doubted(listener.watched, self.moment)
        replica.beat_received(beat, beat.named.get(listener.key), now_s=float(self.moment), grace_s=self.grace_s)
        self.witness.beat_came(listener.watched, message.truth, had_need)

    def _hear(self, process: Process, live: Live) -> None:
        """All replicas of the key get the envelope; one reading serves them all, as far as it goes."""
        envelope = live.envelope
        listeners = [listener for listener in process.listeners if listener.key == live.key]
        reading = _reading.prepare_reading(listeners[0].replica, envelope)
        for listener in listeners:
            replica, had_need = listener.replica, listener.replica.need_open
            if replica.live_received(envelope, reading) is None:
                again = replica.live_received(envelope, _reading.prepare_reading(replica, envelope))
                assert again is not None, "a reading of one's own is enough"
            self.witness.live_came(listener.watched, envelope, had_need)

    def _learn(self, process: Process, message: Answering) -> None:
        """An answer to another ask than the one under way came too late."""
        pending, answer = process.pending, message.answer
        if pending is None or pending.ident != message.ident:
            return
        process.pending = None
        for (listener, asked), outcome in zip(pending.asking, answer.outcomes, strict=True):
            replica, had_need = listener.replica, listener.replica.need_open
            reading = _reading.prepare_reading(replica, outcome) if isinstance(outcome, Envelope) else None
            changed = replica.answer_received(
                asked,
                outcome,
                reading,
                epoch=answer.epoch,
                beat=answer.beat if self.beats else None,
                uptime_s=answer.uptime_s,
                floor=answer.floor,
                asked_s=float(pending.moment),
            )
            assert changed is not None, "a reading of one's own is enough"
            self.witness.answer_came(listener.watched, outcome, pending.moment, message.truth, had_need)
