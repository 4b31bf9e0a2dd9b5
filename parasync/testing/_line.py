"""One way of messages in one direction, on which they are lost, doubled, damaged, and kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, TypeAlias

from parasync.testing._faults import Fates
from parasync.testing._link import Direction, Link, Trouble
from parasync.testing._spoiling import Spoiler
from parasync.transports._fanout import report

_WAITING_MAX: Final = 100_000
"""How many messages a line keeps while nothing moves; more are lost, and the subscriber is told."""

Message: TypeAlias = tuple[str, Any]
"""A key with its envelope, a topic with its beat, or something with the reason why some may have been lost: a text."""


class Line:
    """Passes messages on to a handler, or not, or later, or others.

    Args:
        link: what is wrong with the connection.
        fates: what strikes here.
        direction: whether messages come from the bus or go to it.
        spoiler: knows what becomes of what is damaged.
        deliver: gets each message that arrives.
        told: gets the reasons why some may have been lost, if there is anybody to be told.
    """

    __slots__ = (
        *("_busy", "_deliver", "_direction", "_ended", "_fates", "_held", "_link", "_sent", "_slow", "_spoiler", "_stopping"),
        *("_told", "_waiting"),
    )

    def __init__(
        self,
        link: Link,
        fates: Fates,
        direction: Direction,
        spoiler: Spoiler,
        deliver: Callable[[str, Any], None],
        told: Callable[[str], None] | None,
    ) -> None:
        self._link = link
        self._fates = fates
        self._direction: Direction = direction
        self._stopping: tuple[Trouble, ...] = ("hang", "disconnect") if direction == "outgoing" else ("hang",)
        self._spoiler = spoiler
        self._deliver = deliver
        self._told = told
        self._waiting: deque[Message] = deque()
        self._held = 0
        self._slow = 0
        self._sent = 0
        self._busy = False
        self._ended = False
        link.join(self)

    @property
    def is_told(self) -> bool:
        """Whether anybody wants to know what may have been lost."""
        return self._told is not None

    @property
    def waiting(self) -> frozenset[str]:
        """The keys of what has not left the line."""
        return frozenset(key for key, _ in self._waiting)

    def put(self, key: str, what: Any) -> None:
        """A message comes to the beginning of the line. What the handler raises at once is raised here."""
        link = self._link
        struck = {} if link.calm else self._fates.next()
        if not struck and not self._waiting and not self._busy and link.quiet and not self._held and not self._slow:
            self._sent += 1
            self._deliver(key, what)
            return
        with link.lock:
            link.strike(struck)
            if not self._passes():
                return
            self._strike(struck)
            for message in self._arriving(key, what, struck):
                self._append(message)
        error = self._drain()
        if error is not None:
            raise error

    def tell(self, reason: str) -> None:
        """Messages may have been lost on the way to here."""
        self._waiting.append(("", reason))
        self.release()

    def release(self) -> None:
        """Let go what waits, if nothing holds it any more. What handlers raise is reported."""
        error = self._drain()
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        if error is not None:
            report("a handler of", "a faulty transport", error)

    def reconnected(self) -> None:
        """There was no connection, and now there is one."""
        if self._told is not None:
            self._waiting.append(("", "reconnected"))

    def heal(self) -> None:
        """Hold nothing back any more."""
        with self._link.lock:
            self._held = self._slow = 0

    def close(self) -> None:
        """Tell the subscriber that nothing more comes, and deliver nothing more."""
        self.heal()
        self._waiting.clear()
        if not self._ended:
            self.tell("the transport was closed")
        self.end()

    def end(self) -> None:
        """Deliver nothing more."""
        self._ended = True
        self._waiting.clear()
        self._link.leave(self)

    def _passes(self) -> bool:
        """Whether the connection takes the message, now or later."""
        link, incoming = self._link, self._direction == "incoming"
        if link.troubled(self._direction):
            link.tally.hit("partition")
            return False
        if link.troubled("disconnect"):
            link.tally.hit("disconnect")
            return not incoming
        return True

    def _strike(self, struck: dict[str, Random]) -> None:
        link = self._link
        if "slow" in struck:
            self._slow += 1
            link.later(link.faults.outage_s, struck["slow"], self._awake)
        if "delay" in struck:
            link.tally.hit("delay")
            self._held += 1
            link.later(link.faults.delay_s, struck["delay"], self._on_time)

    def _arriving(self, key: str, what: Any, struck: dict[str, Random]) -> list[Message]:
        """What becomes of a message."""
        tally, link = self._link.tally, self._link
        come: list[Message] = [(key, what)]
        for kind in ("corrupt", "truncate"):
            if kind in struck:
                tally.hit("corrupt" if kind == "corrupt" else "truncate")
                found = self._spoiler.damaged(key, what, kind, struck[kind])
                come = [(key, "malformed frame" if found is None else found)]
        if "drop" in struck:
            tally.hit("drop")
            come = []
        elif "reorder" in struck:
            sent = self._sent
            link.later(link.faults.delay_s, struck["reorder"], self._overtaken, come, sent)
            come = []
        elif "duplicate" in struck:
            tally.hit("duplicate")
            come *= 2
        if "poison" in struck:
            tally.hit("poison")
            come.append((key, self._spoiler.poisoned(key, what, struck["poison"])))
        return come

    def _append(self, message: Message) -> None:
        link, reason = self._link, ""
        if link.troubled("hang"):
            link.tally.hit("hang")
        if self._slow:
            link.tally.hit("slow")
            reason = "slow consumer" if len(self._waiting) >= link.faults.queue_max else ""
        if len(self._waiting) >= _WAITING_MAX:
            reason = "overflow"
        if not reason:
            self._waiting.append(message)
        elif self._waiting[-1] != ("", reason):
            self._waiting.append(("", reason))

    def _overtaken(self, come: list[Message], sent: int) -> None:
        """What was put aside comes now; it was overtaken if others came meanwhile."""
        if self._ended or not self._passes():
            return
        if self._sent > sent:
            self._link.tally.hit("reorder")
        with self._link.lock:
            self._waiting.extend(come)
        self.release()

    def _on_time(self) -> None:
        with self._link.lock:
            self._held = max(0, self._held - 1)
        self.release()

    def _awake(self) -> None:
        with self._link.lock:
            self._slow = max(0, self._slow - 1)
        self.release()

    def _next(self) -> Message | None:
        """The message that may go on now; the line is busy from the first of them to the None after the last."""
        with self._link.lock:
            free = not (self._held or self._slow or self._link.troubled(*self._stopping))
            self._busy = free and bool(self._waiting)
            return self._waiting.popleft() if self._busy else None

    def _drain(self) -> BaseException | None:
        """Deliver what may be delivered, one after the other; returns the first error."""
        failure: BaseException | None = None
        with self._link.lock:
            # What a handler publishes comes after the message that it is handling.
            message = None if self._busy else self._next()
        while message is not None:
            try:
                self._hand(*message)
            except BaseException as error:  # noqa: BLE001 -- a handler may raise anything, and the next message comes
                failure = failure or error
            message = self._next()
        return failure

    def _hand(self, key: str, what: Any) -> None:
        if self._ended:
            return
        if not isinstance(what, str):
            self._sent += 1
            self._deliver(key, what)
        elif self._told is not None:
            self._told(what)
