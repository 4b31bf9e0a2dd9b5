"""The half of the world that writes: disks, authorities, and the messages that go back and forth. See `world.py`."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from typing import Final, Literal, TypeAlias

import attrs

from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    BEAT_NAMES_MAX,
    SAME,
    Answer,
    Ask,
    Beat,
    Catalogue,
    Envelope,
    Kind,
    Outcome,
    Position,
    Pulse,
    Version,
    _authority,
)
from tests.protocol.kit import Text
from tests.protocol.witness import Truth, Witness

LIFE: Final = 1 << _authority.EPOCH_BITS
DAY_S: Final = 86_400
Data: TypeAlias = Literal["kept", "lost", "older"]


@attrs.define
class Disk:
    """What survives a crash."""

    epoch: int = 0
    floor: Version = ABSENT
    objects: dict[str, Text] = attrs.Factory(dict)

    def copied(self) -> Disk:
        return Disk(self.epoch, self.floor, dict(self.objects))


@attrs.define
class Authority:
    """A process that writes to a disk."""

    disk: str
    mode: Literal["down", "serving", "fenced"] = "down"
    epoch: int = 0
    heard: int = 0
    outbox: dict[str, Text] = attrs.Factory(dict)
    """Stored and not yet sent, oldest first; of each key the newest only."""
    sent: dict[str, int] = attrs.Factory(dict)
    """What was sent last of each key in this life: deletions jump above the floor, and nothing is lost in between."""
    public: dict[str, Text] = attrs.Factory(dict)
    """What everybody would hold if nothing were lost: what was stored when this life began, and what it has sent since."""
    pulse: Pulse | None = None


@attrs.frozen
class Live:
    """An envelope on its way to the replicas of a process."""

    to: str
    key: str
    envelope: Text


@attrs.frozen
class Asking:
    """An ask of a process on its way to any authority."""

    to: str
    ident: int
    ask: Ask


@attrs.frozen
class Answering:
    """An answer on its way back; `truth` is for the witness only."""

    to: str
    ident: int
    answer: Answer
    truth: Truth


@attrs.frozen
class Serving:
    """What a probe tells everybody: somebody serves with this epoch."""

    to: str
    epoch: int


@attrs.frozen
class Beating:
    """A beat on its way to a process or to another authority; `truth` is for the witness only."""

    to: str
    beat: Beat
    truth: Truth


Message: TypeAlias = Live | Asking | Answering | Serving | Beating


class Realm(ABC):
    """See the module."""

    def __init__(
        self, disks: tuple[str, ...], *, lossless: bool, checksums: bool, beats: bool, names_max: int = BEAT_NAMES_MAX
    ) -> None:
        self.lossless = lossless
        self.checksums = checksums
        self.beats = beats
        self.names_max = names_max
        self.disks = {disk: Disk() for disk in disks}
        self.backups: dict[str, Disk] = {}
        self.authorities = {name: Authority(disk) for name, disk in zip("AB", disks, strict=False)}
        self.witness = Witness(forked=len(self.disks) > 1, lossless=lossless)
        self.lost_unnoticed = False
        """Whether something is amiss that no replica can know of, until it asks without a reason."""
        self.moment = 0
        self._starts = 0
        self._values = 0

    @abstractmethod
    def carry(self, message: Message) -> None:
        """Give a message to the network."""

    @abstractmethod
    def audience(self, key: str | None) -> list[str]:
        """The processes that listen to a key, or all."""

    @abstractmethod
    def epochs_heard(self) -> list[int]:
        """What replicas tell to those who probe."""

    def serving(self) -> list[str]:
        """The authorities that believe that they serve."""
        return [name for name, authority in self.authorities.items() if authority.mode == "serving"]

    def disk_of(self, name: str) -> Disk:
        """The disk of an authority."""
        return self.disks[self.authorities[name].disk]

    def truth_of(self, name: str) -> Truth:
        """What an authority knows now."""
        disk = self.disk_of(name)
        return Truth(self.moment, self.authorities[name].epoch, dict(disk.objects))

    # Lives

    def start(self, name: str = "A", data: Data = "kept", *, heard: bool = True, back: bool = False, low: bool = False) -> None:
        """A life begins: with its data, without, or with older; having heard who is there or not; its clock set back or not."""
        disk = self.authorities[name].disk
        if data != "kept":
            self.witness.forked = True
            self.disks[disk] = self.backups[disk].copied() if data == "older" else Disk()
        self._take_epoch(name, self._probed() if heard else 0, back=back, low=low)

    def resume(self, name: str = "A", *, heard: bool = True) -> None:
        """A fenced authority looks around, and serves again unless it hears that somebody does."""
        if not (heard and self.serving()):
            self._take_epoch(name, max(self.authorities[name].heard, self._probed() if heard else 0))

    def announce(self, name: str = "A") -> None:
        """An authority tells everybody that it serves, if its disk still lets it; where there are beats, they tell."""
        if self._may_serve(name) and not self.beats:
            for to in [*self.audience(None), *(other for other in self.authorities if other != name)]:
                self.carry(Serving(to, self.authorities[name].epoch))

    def beat(self, name: str = "A") -> None:
        """An authority beats, if its disk still lets it: whatever left its outbox before is on its way."""
        authority = self.authorities[name]
        if not self._may_serve(name) or authority.pulse is None:
            return
        self.moment += 1
        beat = authority.pulse.beat(float(self.moment), floor=self.disk_of(name).floor, history_epoch=0)
        truth = Truth(self.moment, authority.epoch, dict(authority.public))
        self.witness.beaten(beat, truth)
        for to in [*self.audience(None), *(other for other in self.authorities if other != name)]:
            self.carry(Beating(to, beat, truth))

    def told_of(self, name: str, epoch: int) -> None:
        """An authority hears that somebody serves: a higher epoch fences it."""
        authority = self.authorities[name]
        if authority.mode != "down" and epoch > authority.epoch:
            authority.mode, authority.heard = "fenced", max(authority.heard, epoch)

    def crash(self, name: str = "A") -> None:
        """Everything is lost but the disk; what was stored and not yet sent stays unsent."""
        self.lost_unnoticed |= bool(self.authorities[name].outbox)
        self.authorities[name] = Authority(self.authorities[name].disk)

    def backup(self, name: str = "A") -> None:
        """Keep a copy of the disk, for a start with older data."""
        self.backups[self.authorities[name].disk] = self.disk_of(name).copied()

    def _probed(self) -> int:
        up = [authority.epoch for authority in self.authorities.values() if authority.mode != "down"]
        return max([0, *up, *self.epochs_heard()])

    def _take_epoch(self, name: str, heard: int, *, back: bool = False, low: bool = False) -> None:
        """An epoch goes to the disk before anything is served with it; two lives that begin together differ by their bits.

        What is on the disk is read through for the catalogue.
        """
        authority, disk = self.authorities[name], self.disk_of(name)
        wall_s = 100 * DAY_S + self._starts // 2 - (DAY_S if back else 0)
        self._starts += 1
        bits = LIFE // 2 + (-self._starts if low else self._starts)
        disk.epoch = _authority.next_epoch(stored=disk.epoch, heard=heard, wall_s=wall_s, random_bits=bits)
        self.lost_unnoticed |= bool(authority.outbox)
        authority.mode, authority.epoch, authority.outbox, authority.sent = "serving", disk.epoch, {}, {}
        authority.public = dict(disk.objects)
        if self.beats:
            authority.pulse = self._pulse_of(disk)
        self.announce(name)

    def _pulse_of(self, disk: Disk) -> Pulse:
        return Pulse(
            epoch=disk.epoch,
            started_s=float(self.moment),
            catalogue=Catalogue((key, Position.of(envelope)) for key, envelope in disk.objects.items()),
            interval_s=5.0,
            names_max=self.names_max,
        )

    def _may_serve(self, name: str) -> bool:
        """An authority that finds another epoch on its disk is fenced."""
        authority, epoch = self.authorities[name], self.disk_of(name).epoch
        if authority.mode == "serving" and epoch != authority.epoch:
            self.authorities[name].mode, authority.heard = "fenced", max(authority.heard, epoch)
        return authority.mode == "serving"

    # Writes

    def write(self, name: str = "A", key: str = "k", *, bad: bool = False, schema: str = "1.0") -> None:
        """A new value; a bad one does not pass the gate, and one of schema 2 is of another shape."""
        self._values += 1
        self._write(name, key, f"{'bad ' if bad else ''}{key}{self._values}", schema)

    def delete(self, name: str = "A", key: str = "k") -> None:
        """The object is gone, which is a version like any other."""
        self._write(name, key, None, "1.0")

    def purge(self, name: str = "A", key: str = "k") -> None:
        """Raise the floor to the tombstone of an object, and drop all tombstones up to there."""
        disk = self.disk_of(name)
        disk.floor = max(disk.floor, disk.objects[key].version)
        self.witness.purged = True
        authority = self.authorities[name]
        for gone, envelope in list(disk.objects.items()):
            if envelope.kind is Kind.TOMBSTONE and envelope.version <= disk.floor:
                del disk.objects[gone], authority.public[gone]
                if authority.pulse is not None:
                    authority.pulse.catalogue.move(gone, None)

    def send(self, name: str = "A") -> None:
        """The outbox publishes its oldest envelope."""
        authority = self.authorities[name]
        key = next(iter(authority.outbox))
        envelope = authority.outbox.pop(key)
        authority.sent[key] = envelope.sequence
        authority.public[key] = envelope
        if authority.pulse is not None:
            authority.pulse.sent(key, Position.of(envelope))
        self.witness.sent(key, envelope)
        for to in self.audience(key):
            self.carry(Live(to, key, envelope))

    def _write(self, name: str, key: str, value: str | None, schema: str) -> None:
        if not self._may_serve(name):
            return
        authority, disk = self.authorities[name], self.disk_of(name)
        held = disk.objects.get(key)
        kind = Kind.STATE if value is not None else Kind.TOMBSTONE
        below = None if held is None else held.version
        deletes = kind is Kind.TOMBSTONE
        version = _authority.next_version(below, epoch=authority.epoch, floor=disk.floor, deletes=deletes)
        checksum = zlib.crc32(f"{kind} {schema} {value}".encode()) if self.checksums else None
        envelope: Text = Envelope(value, schema, version.sequence, version.epoch, kind=kind, checksum=checksum)
        disk.objects[key] = envelope
        self.witness.wrote(key, envelope)
        replaced = authority.outbox.pop(key, None)
        after = authority.sent.get(key) if replaced is None else replaced.after
        if replaced is not None and after is None:
            after = replaced.sequence - 1
        authority.outbox[key] = attrs.evolve(envelope, after=after)
        if self.lossless:
            self.send(name)

    # Answers

    def serve(self, name: str, asking: Asking, *, heard: bool) -> None:
        """An authority gets an ask; `heard` tells whether it would hear a rival."""
        if not self._may_serve(name):
            return
        authority, disk, ask = self.authorities[name], self.disk_of(name), asking.ask
        stored = {key: Position.of(disk.objects[key]) for key in ask.keys if key in disk.objects}
        plan = _authority.plan_answer(ask, stored, epoch=authority.epoch, floor=disk.floor)
        if plan.rival is not None:
            highest = max(self.authorities[other].epoch for other in self.serving())
            if heard and highest > authority.epoch:
                self.told_of(name, highest)
                return
            self._take_epoch(name, plan.rival)
        elif plan.new_epoch:
            self._take_epoch(name, authority.epoch)
        for key in plan.reissue:
            self.witness.reissued(key)
            held = disk.objects.get(key)
            self._write(name, key, None if held is None else held.value, "1.0" if held is None else held.schema_version)
        outcomes = tuple(self._outcome(disk, key, position) for key, position in zip(ask.keys, ask.positions, strict=True))
        pulse = authority.pulse
        beat, uptime_s = (0, 0.0) if pulse is None else (pulse.number, self.moment - pulse.started_s)
        answer = Answer(authority.epoch, beat, uptime_s, disk.floor, 0, outcomes)
        self.carry(Answering(asking.to, asking.ident, answer, self.truth_of(name)))

    @staticmethod
    def _outcome(disk: Disk, key: str, position: Position | None) -> Outcome:
        if key not in disk.objects:
            return ABSENT_OBJECT
        same = position is not None and _authority.is_same(position, Position.of(disk.objects[key]))
        return SAME if same else disk.objects[key]
