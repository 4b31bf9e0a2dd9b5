"""A process with replicas: keeps a book of every step that it shows, and of what it says of itself all the time."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import attrs

from parasync import Change, Ref, Snapshot, SyncTransport, synced
from parasync.cli.demo._contract import LOAD, NEW, OLD, PACE, RANKS, REPORT_S, SAMPLE_S, STALE_AFTER_S
from parasync.cli.demo._records import Ended, Place, Record, Said, Shown, now_s
from parasync.cli.demo._worker import every, meanwhile, orders, say
from parasync.transports.nats import NatsTransport


class Copier:
    """The replicas of one process, and its book."""

    def __init__(self, bus: SyncTransport, record: Record, code: str) -> None:
        processes: Any = {"old": OLD, "new": NEW}[code]
        refs: list[Ref[Any]] = [LOAD.ref(), *(processes[rank] for rank in RANKS)]
        self._record = record
        self._replicas = [synced(ref, bus, pace=PACE, stale_after_s=STALE_AFTER_S) for ref in refs]
        # A bad neighbour, before the listener that keeps the book: it must not keep anything from it.
        self._replicas[0].subscribe(_stumble)
        for replica in self._replicas:
            replica.subscribe(partial(self._show, replica.key))

    def sample(self) -> None:
        """Book what each replica says of itself now."""
        for replica in self._replicas:
            self._booked(replica)

    def report(self) -> None:
        """Tell the demonstration how the replicas are."""
        facts: dict[str, dict[str, Any]] = {}
        for replica in self._replicas:
            # What the demonstration waits for is in the books, too.
            snapshot = self._booked(replica)
            facts[replica.key] = {
                "status": snapshot.status.value,
                "place": _place(snapshot.version),
                "age_s": snapshot.age_s,
                "reason": replica.reason,
                "value": _plain(snapshot.value),
                "stats": attrs.asdict(replica.stats),
            }
        say(replicas=facts)

    def end(self) -> None:
        """Book what there is at the end, and close."""
        for replica in self._replicas:
            snapshot, stats = replica.snapshot(), replica.stats
            place, status = _place(snapshot.version), snapshot.status.value
            self._record.add(Ended(now_s(), replica.key, place, status, stats.applied, stats.handler_errors))
            replica.close()

    def _booked(self, replica: synced[Any]) -> Snapshot[Any]:
        at_s = now_s()
        snapshot = replica.snapshot()
        self._record.add(Said(at_s, replica.key, _place(snapshot.version), snapshot.status.value))
        return snapshot

    def _show(self, key: str, change: Change[Any]) -> None:
        epoch, sequence = change.version
        self._record.add(Shown(now_s(), key, (epoch, sequence), change.skipped, _plain(change.new)))


async def copy(url: str, path: Path, code: str) -> None:
    """Run a process with replicas; its code knows the new schema, or only the old one."""
    async with contextlib.AsyncExitStack() as stack:
        record = stack.enter_context(Record(path))
        bus = await stack.enter_async_context(NatsTransport(url, name="parasync demo: replica", reconnect_max_s=0.5))
        copier = Copier(bus, record, code)
        stack.callback(copier.end)
        async with meanwhile(every(SAMPLE_S, copier.sample), every(REPORT_S, copier.report)):
            async for order in orders():
                if order == "end":
                    return


def _stumble(_: Change[Any]) -> NoReturn:
    raise RuntimeError("a listener that always raises")


def _plain(value: Any) -> Any:
    return None if value is None else attrs.asdict(value)


def _place(version: tuple[int, int] | None) -> Place | None:
    return None if version is None else (version[0], version[1])
