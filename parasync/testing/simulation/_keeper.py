"""A process with a mirror, which it closes now and then to begin another one with what was saved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from parasync.errors import NotReadyError, ParasyncError
from parasync.protocol import Beat, Envelope, Status, Version
from parasync.runtime._mirror import mirror
from parasync.runtime._mirror_file import MirrorSnapshot
from parasync.testing.simulation._disk import Disk
from parasync.testing.simulation._journal import Journal, place_of
from parasync.testing.simulation._mirror_judge import MirrorJudge
from parasync.testing.simulation._reflection import GROUPS, Reflection, group_of
from parasync.testing.simulation._scenario import PATTERN, Topology
from parasync.testing.simulation._tap import Tap

FOLLOWER_RESTS_S: Final = 2.0
"""How long one who follows the changes of a mirror rests after each while faults strike, so that some become one."""


class Keeper:
    """A process with a mirror.

    Args:
        name: for people.
        topology: who takes part.
        judge: is told what its mirror shows; nothing else is there on this connection.
        tap: its connection.
        journal: is told what it does.
    """

    def __init__(self, name: str, topology: Topology, judge: MirrorJudge, tap: Tap, journal: Journal) -> None:
        self.name = name
        self.tap = tap
        self._topology = topology
        self._judge = judge
        self._journal = journal
        self._raised = [0]
        self._raises = False
        self._waits: dict[asyncio.Task[None], tuple[str, str, Version | None]] = {}
        self._reopening: asyncio.Task[None] | None = None
        self._follower: asyncio.Task[None] | None = None

    def open(self, warm: MirrorSnapshot[Any] | None = None) -> None:
        """Begin a mirror, with what was saved or with nothing."""
        topology = self._topology
        pattern = f"{topology.topic.name}:{PATTERN}" if topology.pattern else None
        opened: mirror[Any] = mirror(
            topology.topic, self.tap, pattern=pattern, warm=warm, gap=topology.gap, pace=topology.pace
        )
        opened.subscribe(self._changed)
        self._raised[0] = 0
        shown = {} if warm is None else self._judge.seen.shown
        seen = self._judge.seen = Reflection(self.name, opened, shown, self._raised, warm=warm is not None)
        seen.index = opened.index(group_of)
        seen.unique = opened.unique(self._strict)
        seen.where = opened.where(lambda value: group_of(value) == 0)
        self._follower = asyncio.create_task(self._follow(seen), name=f"{self.name} is followed")
        self._journal.note(self.name, "opens a mirror" + ("" if warm is None else f" with {len(warm)} objects that were saved"))

    def _strict(self, value: Any) -> int:
        if (group := group_of(value)) == GROUPS - 1:
            self._raised[0] += 1
            raise _BadFunctionError
        return group

    def _changed(self, change: Any) -> None:
        self._judge.changed(change)
        if self._raises:
            self._raised[0] += 1
            raise _BadFunctionError

    async def _follow(self, seen: Reflection) -> None:
        async for change in seen.mirror.changes():
            self._judge.followed(seen, change)
            if self._journal.now_s() < self._topology.safety_s:
                await asyncio.sleep(FOLLOWER_RESTS_S)

    def reopen(self, *, warm: bool) -> None:
        """Close the mirror, and begin another one, with what was saved of it, or with nothing."""
        if self._reopening is None:
            self._journal.fault(self.name, "reopen", "closes its mirror")
            self._reopening = asyncio.create_task(self._reopened(warm), name=f"{self.name} begins again")

    async def _reopened(self, warm: bool) -> None:
        old, saved = self._judge.seen.mirror, None
        await self._closed(old)
        try:
            saved = old.snapshot() if warm else None
        except NotReadyError:
            self._journal.note(self.name, "has nothing to save")
        self.open(saved)
        self._reopening = None

    async def _closed(self, old: mirror[Any]) -> None:
        for task in tuple(self._waits):
            task.cancel()
        if self._waits:
            await asyncio.wait(tuple(self._waits))
        await old.aclose()
        if self._follower is not None:
            await self._follower

    def spoil(self) -> None:
        """Let a listener raise from now on."""
        self._raises = True
        self._journal.note(self.name, "has a listener that raises")

    def demand(self, how: str, key: str, version: Version | None, patience_s: float | None) -> None:
        """Wait for something: `fresh`, `ready`, `idle` or `at_least`; give up after so many seconds."""
        if self._reopening is None:
            task = asyncio.create_task(self._demanded(how, key, version), name=f"{self.name} waits")
            self._waits[task] = how, key, version
            task.add_done_callback(lambda _: self._waits.pop(task, None))
            if patience_s is not None:
                asyncio.get_running_loop().call_later(patience_s, task.cancel)

    async def _demanded(self, how: str, key: str, version: Version | None) -> None:
        opened, since_s = self._judge.seen.mirror, self._journal.now_s()
        ident = key.partition(":")[2]
        waits: Mapping[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "fresh": opened.fresh,
            "ready": opened.ready,
            "idle": opened.when_idle,
            "at_least": lambda: opened.at_least(version or Version(0, 1), ident),
        }
        try:
            await waits[how]()
        except ParasyncError as error:
            self._journal.reached[f"{how} of a mirror ended in {type(error).__name__}"] += 1
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
            self._journal.broken("P7", self.name, f"raised {error!r} at one who waited for {how}")
            return
        self._journal.reached[f"{how} of a mirror returned"] += 1
        if how == "fresh":
            self._judge.proven(since_s)
        if how == "at_least" and version is not None:
            self._judge.reached(key, version)

    def look(self) -> None:
        """Somebody reads the mirror."""
        self._judge.look()

    def at_rest(self, truth: Disk) -> None:
        """Faults have stopped long enough ago: it shows all that is there, says so, and nobody waits any more."""
        self._judge.at_rest(truth)
        opened = self._judge.seen.mirror
        for how, key, version in self._waits.values():
            shown = opened.version_of(key.partition(":")[2])
            reached = version is not None and shown is not None and version <= shown
            if opened.status is Status.OK and (how != "at_least" or reached):
                self._journal.broken("P5", self.name, f"is at rest, and lets somebody wait for {how} of {key} {version}")

    async def aclose(self) -> None:
        """Close everything."""
        if self._reopening is not None:
            await self._reopening
        await self._closed(self._judge.seen.mirror)

    # What passes on its connection

    def publishes(self, who: str, key: str, envelope: Envelope[Any]) -> None:
        """A mirror publishes nothing."""
        self._journal.broken("P2", who, f"publishes {key} {envelope.version}, and only reads")

    def hears(self, who: str, key: str, envelope: Envelope[Any], deliver: Callable[[], None]) -> None:
        """A live envelope has come."""
        author = self._journal.authors.get(envelope.epoch, "nobody")
        self._journal.step("message", author, who, f"{key} {envelope.version}")
        self._judge.hears(place_of(envelope.version), key, envelope, deliver)

    def answers(self, who: str, keys: Iterable[str], epoch: int) -> None:
        """A mirror asks for ranges."""

    def interrupted(self, who: str, key: str) -> None:
        """It was told that envelopes may have been lost."""
        self._judge.interrupted()

    def beats(self, beat: Beat, deliver: Callable[[], None]) -> None:
        """A beat has come."""
        self._judge.beats(beat, deliver)

    def scanned(self, request: Any, response: Any) -> None:
        """An answer has come."""
        self._judge.answers(request, response)


class _BadFunctionError(Exception):
    """What a bad function of a user raises."""
