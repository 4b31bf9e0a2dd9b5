"""A process that reads: its replicas, and those who wait for them and follow them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from parasync.errors import ParasyncError
from parasync.protocol import Envelope, Status, Version
from parasync.runtime._synced import synced
from parasync.runtime._views import Change
from parasync.testing.simulation._journal import Journal, place_of
from parasync.testing.simulation._judge import Judge
from parasync.testing.simulation._scenario import Topology
from parasync.testing.simulation._tap import Tap
from parasync.testing.simulation._watched import Watched

FOLLOWER_RESTS_S: Final = 2.0
"""How long one who follows the changes of a replica rests after each while faults strike, so that some become one."""

FOLLOWER_PENDING_MAX: Final = 16
"""How many changes may wait for one who follows, as it is promised to users."""


class Reader:
    """A process that reads.

    Args:
        name: for people.
        topology: who takes part.
        tap: its connection.
        judge: is told what its replicas show.
        journal: is told what it does.
    """

    def __init__(self, name: str, topology: Topology, tap: Tap, judge: Judge, journal: Journal) -> None:
        self.name = name
        self.tap = tap
        self.replicas: list[Watched] = []
        self._topology = topology
        self._judge = judge
        self._journal = journal
        self._opened = 0
        self._waits: dict[asyncio.Task[None], tuple[Watched, str, Version | None]] = {}
        self._follower: asyncio.Task[None] | None = None

    def join(self, key: str, seed: Envelope[Any] | None = None) -> None:
        """Open one more replica."""
        self._opened += 1
        ident = key.partition(":")[2]
        replica = synced(self._topology.topic[ident], self.tap, seed=seed, gap=self._topology.gap, pace=self._topology.pace)
        place = None if seed is None else (seed.epoch, seed.sequence)
        name = f"{self.name}#{self._opened}"
        watched = Watched(name, self.name, key, replica, place, place, unproven=seed is not None)
        replica.subscribe(lambda change: self._changed(watched, change))
        self._judge.watched[watched] = None
        self.replicas.append(watched)
        if seed is None and self._opened == 1:
            watched.follows = True
            self._follower = asyncio.create_task(self._follow(watched), name=f"{name} is followed")
        self._journal.note(self.name, f"opens {name} of {key}" + (f" with the seed {seed.version}" if seed is not None else ""))

    async def _follow(self, watched: Watched) -> None:
        """Read the changes, slowly while faults strike."""
        async for change in watched.replica.changes():
            self._judge.followed(watched, change)
            waiting = sum(place > place_of(change.version) for place in watched.stood)
            if waiting > FOLLOWER_PENDING_MAX:
                self._journal.broken("P8", watched.name, f"keeps {waiting} changes for one who follows slowly")
            if self._journal.now_s() < self._topology.safety_s:
                await asyncio.sleep(FOLLOWER_RESTS_S)

    def _changed(self, watched: Watched, change: Change[Any]) -> None:
        self._judge.changed(watched, change)
        watched.stood.append(place_of(change.version))
        if watched.raises:
            watched.raised += 1
            raise _BadListenerError

    def leave(self, index: int) -> None:
        """Close a replica."""
        if self.replicas:
            watched = self.replicas.pop(index % len(self.replicas))
            self._judge.watched.pop(watched)
            watched.replica.close()
            self._journal.note(self.name, f"closes {watched.name}")

    def spoil(self, index: int) -> None:
        """Let a listener raise from now on."""
        if self.replicas:
            watched = self.replicas[index % len(self.replicas)]
            watched.raises = True
            self._journal.fault(watched.name, "raise", "has a listener that raises")

    def demand(self, index: int, how: str, version: Version | None, patience_s: float | None) -> None:
        """Wait for something of a replica: `fresh`, `ready`, `idle` or `at_least`; give up after so many seconds."""
        if self.replicas:
            watched = self.replicas[index % len(self.replicas)]
            task = asyncio.create_task(self._demanded(watched, how, version), name=f"{watched.name} waits")
            self._waits[task] = watched, how, version
            task.add_done_callback(lambda _: self._waits.pop(task, None))
            if patience_s is not None:
                asyncio.get_running_loop().call_later(patience_s, self._cancel, task)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        if task.cancel():
            self._journal.fault(self.name, "cancel", "gives up on a wait")

    async def _demanded(self, watched: Watched, how: str, version: Version | None) -> None:
        replica, since_s = watched.replica, self._journal.now_s()
        waits: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "fresh": replica.fresh,
            "ready": replica.ready,
            "idle": replica.when_idle,
            "at_least": lambda: replica.at_least(version or Version(0, 1)),
        }
        try:
            await waits[how]()
        except ParasyncError as error:
            self._journal.reached[f"{how} ended in {type(error).__name__}"] += 1
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
            self._journal.broken("P7", watched.name, f"raised {error!r} at one who waited for {how}")
            return
        self._journal.reached[f"{how} returned"] += 1
        if how == "fresh":
            self._judge.proven(watched, since_s)
        if how == "at_least" and version is not None and (replica.version is None or replica.version < version):
            self._journal.broken("P6", watched.name, f"returned from at_least({version}) at {replica.version}")
        elif how == "at_least" and version is not None and replica.version is not None:
            self._judge.reached(watched, version, replica.version)

    def at_rest(self) -> None:
        """Nobody waits any more, unless for a value that is not there or for a version that was lost unseen."""
        for watched, how, version in self._waits.values():
            snapshot = watched.replica.snapshot()
            shown = snapshot.version if snapshot.status is Status.OK and not snapshot.deleted else None
            if shown is not None and (how != "at_least" or version is None or version <= shown):
                self._journal.broken("P5", watched.name, f"stands at {place_of(shown)}, and lets somebody wait for {how}")

    async def aclose(self) -> None:
        """Close everything."""
        for task in tuple(self._waits):
            task.cancel()
        if self._waits:
            await asyncio.wait(tuple(self._waits))
        while self.replicas:
            watched = self.replicas.pop()
            self._judge.watched.pop(watched)
            await watched.replica.aclose()
        if self._follower is not None:
            await self._follower


class _BadListenerError(Exception):
    """What a bad listener raises."""
