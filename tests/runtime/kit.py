"""What the tests of replicas and authorities share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from parasync import ABSENT, Envelope, InProcessTransport, Kind, Pace, Terms, Topic, synced
from parasync.protocol import Answer, Ask, Outcome, Request
from parasync.runtime import _hub
from parasync.testing import settle
from parasync.testing._loop import VirtualLoop
from tests.lossy import LossyTransport
from tests.virtual_time import now_s

PATIENCE_S = 20.0
NOTES = Topic("note", str, version="1.0")
A = NOTES["a"]
KEY = "note:a"


def envelope(sequence: int, value: Any = None, *, epoch: int = 0, **more: Any) -> Envelope[Any]:
    """One version of the note, whose text tells which."""
    text = f"{epoch}.{sequence}" if value is None else value
    return Envelope(text, more.pop("schema_version", "1.0"), sequence, epoch, **more)


def tombstone(sequence: int, *, epoch: int = 0) -> Envelope[Any]:
    """A deletion of the note."""
    return Envelope(None, "1.0", sequence, epoch, kind=Kind.TOMBSTONE)


def half() -> float:
    """A random number that is always the same."""
    return 0.5


def pace(**options: Any) -> Pace:
    """Times on the clock of the running loop, without surprises."""
    return Pace(**{"clock": now_s, "random": half, **options})


def terms(**options: Any) -> Terms:
    """Times on the clock of the running loop, without surprises."""
    return Terms(**{"clock": now_s, "random": half, **options})


class Author:
    """Answers asks as it is told, and remembers them: the other side of a recovery, one step at a time."""

    def __init__(self, bus: Any, *, epoch: int = 0, topic: str = "note") -> None:
        self.epoch = epoch
        self.history_epoch = 0
        self.asks: list[Ask] = []
        self.times_s: list[float] = []
        self.outcome: Callable[[str], Outcome | BaseException] = lambda key: envelope(1, epoch=self.epoch)
        self.gate = asyncio.Event()
        self.gate.set()
        self.stop = bus.serve(topic, self.answer)

    async def answer(self, request: Request) -> Answer:
        """One outcome a key, or an error."""
        assert isinstance(request, Ask)
        self.asks.append(request)
        self.times_s.append(now_s())
        await self.gate.wait()
        outcomes = [self.outcome(key) for key in request.keys]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return Answer(self.epoch, 0, 0.0, ABSENT, self.history_epoch, tuple(outcomes))  # type: ignore[arg-type]


def in_threads(*works: Callable[[], None]) -> None:
    """Run all at once, from a common start; the first error of any is raised."""
    start = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            start.wait(PATIENCE_S)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def promptly(work: Callable[[], Any]) -> Any:
    """Run in another thread, and fail rather than hang."""
    results: list[Any] = []
    in_threads(lambda: results.append(work()))
    return results[0]


async def until(done: Callable[[], object]) -> None:
    """Let the loop turn until something holds, up to a generous deadline."""
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110  # what is waited for is no event of ours
            await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Let everything that is ready to run do so."""
    if isinstance(asyncio.get_running_loop(), VirtualLoop):
        await settle()
        return
    for _ in range(count):
        await asyncio.sleep(0)


def versions(changes: Iterable[Any]) -> list[tuple[int, int]]:
    """The versions of changes, as plain pairs."""
    return [tuple(change.version) for change in changes]


def assert_nothing_left(*buses: Any) -> None:
    """No subscription, and nothing of the runtime, refers to these transports any more."""
    for bus in buses:
        assert bus.key_count() == 0
        assert id(bus) not in _hub._hubs


def listening(replica: synced[Any]) -> int:
    """How many listen to a replica, or wait for it."""
    member = replica._member
    assert (member.listener is None) == (not member._listeners)
    return len(member._listeners) + len(member.watchers)


def served(count: int, bus: InProcessTransport | LossyTransport, **options: Any) -> Sequence[synced[str]]:
    """Several replicas of the note."""
    return [synced(A, bus, **options) for _ in range(count)]

