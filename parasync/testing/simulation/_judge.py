"""Judges what replicas show by what the onlooker saw. It reads them as users do, and shares no rule with parasync."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs

from parasync.codec import MsgpackCodec
from parasync.protocol import Beat, EncodedBody, Envelope, Kind, Request, Response, Status, Version, parse_key
from parasync.runtime._views import Change, Snapshot, Stats
from parasync.testing.simulation._disk import Disk
from parasync.testing.simulation._journal import GONE, NOWHERE, Content, Journal, Place, place_of
from parasync.testing.simulation._scenario import Topology
from parasync.testing.simulation._tap import after
from parasync.testing.simulation._truth import SLACK_S, Truth
from parasync.testing.simulation._watched import Watched, where

ASKS_PER_S_MAX: Final = 40
"""How often one process may ask in any second of a simulation: more is a storm."""
_COUNTED: Final = {
    "gaps": "gap seen",
    "conflicts": "conflict seen",
    "parse_errors": "value refused",
    "schema_skews": "schema major refused",
    "ignored_stale": "old envelope dropped",
}
"""What each counter of a replica is called among the rare states."""


class Judge:
    """Compares, and notes what is broken.

    Args:
        topology: who takes part.
        journal: what was seen.
        disks: where the truth is.
    """

    def __init__(self, topology: Topology, journal: Journal, disks: Sequence[Disk]) -> None:
        self._topology = topology
        self._journal = journal
        self._codec = MsgpackCodec()
        self._sent: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        self.truth = Truth(topology, journal, disks)
        self.watched: dict[Watched, None] = {}

    def forgotten(self) -> None:
        """A disk lost data: what was published may not be the truth any more."""
        self.truth.published.clear()

    # Envelopes on their way

    def publishes(self, who: str, key: str, envelope: Envelope[Any]) -> None:
        """An authority is about to publish: only what is stored, and without hiding what it has sent before."""
        place, journal = place_of(envelope.version), self._journal
        if parse_key(key).topic != self._topology.topic.name:
            journal.note(who, f"publishes {key} {envelope.version}")  # a service may own a topic too
            return
        content = journal.content(key, place)
        told = self._content(key, place, envelope)
        if content is None or told != content:
            journal.broken("P9", who, f"publishes {key} {envelope.version} as {told}, stored is {content}")
        sent = self._sent[key, envelope.epoch]
        before = max((sequence for sequence in sent if sequence < envelope.sequence), default=0)
        # While several writes of one object are under way, nobody knows yet which of them will be sent.
        if after(envelope) < before and journal.writing[key] < 2:
            said = f"publishes {key} {envelope.version} after {envelope.after}"
            journal.broken("P4", who, f"{said}, as if {before} had not been sent")
        sent.append(envelope.sequence)
        # What one who was deposed publishes is the truth no more.
        if envelope.epoch == max(journal.authors, default=0):
            self.truth.published[key] = max(self.truth.published[key], place)
        journal.note(who, f"publishes {key} {envelope.version}{'' if content is None or content.readable else ', unreadable'}")

    def hears(self, who: str, key: str, envelope: Envelope[Any], deliver: Callable[[], None]) -> None:
        """A live envelope comes to a process: each replica there applies it, drops it, or refuses it, and counts that."""
        journal = self._journal
        author = journal.authors.get(envelope.epoch, "nobody")
        journal.step("message", author, who, f"{key} {envelope.version}")
        here = [watched for watched in self.watched if watched.reader == who and watched.key == key]
        before = [(watched, attrs.evolve(watched), watched.replica.snapshot(), watched.replica.stats) for watched in here]
        deliver()
        for watched, known, snapshot, stats in before:
            if watched in self.watched:
                self._delivered(watched, known, envelope, snapshot, stats)

    def answers(self, who: str, keys: Iterable[str], epoch: int) -> None:
        """An answer has come to a process."""
        for watched in self.watched:
            if watched.reader == who and watched.key in keys:
                watched.told = max(watched.told, epoch)

    def interrupted(self, who: str, key: str) -> None:
        """A process was told that envelopes may have been lost: none of its replicas is sure any more."""
        for watched in self.watched:
            if watched.reader == who and watched.key == key and watched.replica.status is Status.OK:
                self._journal.broken("P6", watched.name, "was told that envelopes may have been lost, and says OK")

    def beats(self, beat: Beat, deliver: Callable[[], None]) -> None:
        """A beat comes to a process."""
        deliver()

    def scanned(self, request: Request, response: Response) -> None:
        """An answer has come to a service with a mirror."""

    def _delivered(
        self, watched: Watched, known: Watched, envelope: Envelope[Any], before: Snapshot[Any], counted: Stats
    ) -> None:
        journal, place = self._journal, place_of(envelope.version)
        now, stats = watched.replica.snapshot(), watched.replica.stats
        was, stands = where(before), where(now)
        if stands not in (was, place):
            journal.broken("P1", watched.name, f"went from {was} to {stands} when it heard {place}")
        watched.heard = max(watched.heard, envelope.epoch)
        if stands == place != was:
            follows = was is not None and was[0] == place[0] and was != NOWHERE and not known.unproven
            lost = follows and was is not None and after(envelope) > was[1] and before.status is not Status.SKEW
            if lost and stats.gaps != counted.gaps + 1:
                journal.broken("P4", watched.name, f"stood at {was}, heard {place} after {after(envelope)}, and counted no gap")
            if follows and not lost and before.status is not Status.SKEW and stats.gaps != counted.gaps:
                journal.broken("P4", watched.name, f"stood at {was}, heard {place} after {after(envelope)}, and counted a gap")
            if lost and self._topology.gap == "refetch" and now.status is Status.OK:
                journal.broken("P6", watched.name, f"stood at {was}, heard {place} after {after(envelope)}, and says OK")
            proven = was is not None and not known.unproven
            if proven and place[0] < known.heard:
                journal.broken("P1", watched.name, f"shows {place}, and has heard of epoch {known.heard}")
            if proven and place[0] > max(known.heard, known.told) and now.status is Status.OK:
                journal.broken("P6", watched.name, f"heard of epoch {place[0]} for the first time, and says OK")
        elif was is not None and place <= was and not known.unproven:
            old, new = counted.ignored_stale + counted.conflicts, stats.ignored_stale + stats.conflicts
            if new != old + 1:
                journal.broken("P1", watched.name, f"stood at {was}, heard {place}, and did not count it as old")
        # An unproven seed is no promise, and came without a checksum to compare.
        same = place == was and not known.unproven
        if same and stats.conflicts == counted.conflicts and self._contradicts(before, envelope):
            journal.broken("P2", watched.name, f"shows {was}, heard of another content of it, and counted no conflict")
        for name in ("gaps", "conflicts", "parse_errors", "schema_skews", "ignored_stale"):
            if getattr(stats, name) > getattr(counted, name):
                journal.reached[_COUNTED[name]] += 1
        refused = (stats.parse_errors + stats.schema_skews) - (counted.parse_errors + counted.schema_skews)
        if refused and now.status is Status.OK:
            journal.broken("P3", watched.name, f"refused {place}, and says OK")

    def _contradicts(self, shown: Snapshot[Any], envelope: Envelope[Any]) -> bool:
        if shown.deleted or envelope.kind is Kind.TOMBSTONE:
            return shown.deleted != (envelope.kind is Kind.TOMBSTONE)
        if not isinstance(envelope.value, EncodedBody):
            return False
        return self._topology.topic.encode(shown.value, self._codec) != envelope.value

    # What replicas show

    def changed(self, watched: Watched, change: Change[Any]) -> None:
        """A listener was told of a change."""
        journal, place, was = self._journal, place_of(change.version), watched.shown
        if watched not in self.watched:
            journal.broken("P7", watched.name, f"calls its listener for {place}, and was closed")
        back = watched.unproven and change.cause == "answer"
        if was is not None and place <= was and not back:
            journal.broken("P1", watched.name, f"went from {was} to {place}")
        if was is not None and place > was and not watched.unproven:
            self._skipped(watched, was, place, change.skipped)
        if was is not None and was[0] != place[0] and was != NOWHERE:
            journal.reached["another life of the authority shown"] += 1
        if back:
            journal.reached["seed replaced"] += 1
        if change.deleted and place[1]:
            journal.reached["deletion shown"] += 1
        watched.shown, watched.unproven = place, False
        watched.heard = max(watched.heard, place[0])
        self._true(watched, place, change.new, deleted=change.deleted)
        journal.note(watched.name, f"shows {watched.key} {change.version}, {change.cause}")

    def followed(self, watched: Watched, change: Change[Any]) -> None:
        """One who follows the changes was told of one."""
        place, was = place_of(change.version), watched.followed
        if was is not None and place <= was:
            self._journal.broken("P1", watched.name, f"told one who follows of {was} and then of {place}")
        elif was is not None:
            self._skipped(watched, was, place, change.skipped)
        watched.followed = place
        self._true(watched, place, change.new, deleted=change.deleted)

    def _skipped(self, watched: Watched, was: Place, place: Place, skipped: int | None) -> None:
        """What was said of the versions between."""
        journal = self._journal
        between = place[1] - was[1] - 1
        if skipped != between if was[0] == place[0] else was != NOWHERE and skipped is not None:
            journal.broken("P4", watched.name, f"went from {was} to {place}, and says that it skipped {skipped}")
        if skipped:
            journal.reached["versions skipped"] += 1

    def look(self, watched: Watched) -> None:
        """Somebody reads a replica."""
        journal, snapshot = self._journal, watched.replica.snapshot()
        place = where(snapshot)
        if watched.shown is not None and not watched.unproven and (place is None or place < watched.shown):
            journal.broken("P1", watched.name, f"shows {place}, and showed {watched.shown}")
        if place is not None and place != watched.seed:
            self._true(watched, place, snapshot.value, deleted=snapshot.deleted)
        reason = watched.replica.reason
        if (snapshot.status is Status.OK) != (reason == ""):
            journal.broken("P6", watched.name, f"says {snapshot.status.name} for the reason {reason!r}")
        if snapshot.status is Status.OK:
            watched.unproven = False
            self._surely_current(watched, snapshot, journal.now_s() - snapshot.age_s)
        stats = watched.replica.stats
        if stats.handler_errors != watched.raised:
            journal.broken("P7", watched.name, f"counts {stats.handler_errors} errors of listeners, expected {watched.raised}")

    def proven(self, watched: Watched, since_s: float) -> None:
        """A read that demanded a proof since then has returned."""
        snapshot = watched.replica.snapshot()
        if snapshot.age_s > self._journal.now_s() - since_s + SLACK_S:
            wanted = f"one since {since_s} was demanded"
            self._journal.broken("P6", watched.name, f"has a proof of {snapshot.age_s} s ago where {wanted}")
        self.truth.sure(watched.name, watched.key, where(snapshot) or NOWHERE, since_s)

    def reached(self, watched: Watched, wanted: Version, version: Version) -> None:
        """A read that demanded a version has returned: that one must be in the history of what is shown."""
        self.truth.reached(watched.name, watched.key, wanted, version)

    def _surely_current(self, watched: Watched, snapshot: Snapshot[Any], since_s: float) -> None:
        if not 0 <= snapshot.age_s <= self.truth.stale_after_s:
            self._journal.broken("P6", watched.name, f"says OK with a proof of {snapshot.age_s} s ago")
        self.truth.sure(watched.name, watched.key, where(snapshot) or NOWHERE, since_s)

    def _true(self, watched: Watched, place: Place, value: Any, *, deleted: bool) -> None:
        """What is shown was written at this very version, and can be read; what it was given at first may be anything."""
        if place == NOWHERE or place != watched.seed:
            self.truth.shows(watched.name, watched.key, place, value, deleted=deleted)

    def _content(self, key: str, place: Place, envelope: Envelope[Any]) -> Content | None:
        if envelope.kind is Kind.TOMBSTONE:
            return GONE
        content = self._journal.written[key].get(place)
        if content is None or isinstance(envelope.value, EncodedBody):
            return content
        make = self._topology.value if content.readable or self._topology.unreadable is None else self._topology.unreadable
        fits = envelope.value in (make(content.number), self._topology.value(content.number))
        return content if fits else Content(-1, readable=False)

    # When all is well again

    def at_rest(self, truth: Disk) -> None:
        """Faults have stopped long enough ago: everybody shows the newest version and says so."""
        for watched in self.watched:
            self.look(watched)
            place = truth.contents.get(watched.key, NOWHERE)
            content = self._journal.written[watched.key].get(place, GONE)
            snapshot = watched.replica.snapshot()
            stands, status = where(snapshot), snapshot.status
            if not content.readable:
                good = status is Status.SKEW if snapshot.version is not None else status is not Status.OK
                self._journal.reached["at rest with what cannot be read"] += 1
            else:
                good = truth.is_at(watched.key, stands) and status is Status.OK
            if watched.follows and watched.followed != stands and stands not in (None, NOWHERE):
                self._journal.broken("P5", watched.name, f"stands at {stands}, told one who follows of {watched.followed}")
            if not good:
                says = f"stands at {stands} and says {status.name}: {watched.replica.reason}"
                self._journal.broken("P5", watched.name, f"{says}; {watched.key} is at {place}, {content}")

    def storms(self, who: str, asked_s: Iterable[float]) -> None:
        """Nobody asked too often."""
        times = sorted(asked_s)
        for first, last in zip(times, times[ASKS_PER_S_MAX:], strict=False):
            if last - first < 1.0:
                self._journal.broken("P8", who, f"asked more than {ASKS_PER_S_MAX} times in the second after {first:.3f}")
                return
