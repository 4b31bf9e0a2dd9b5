"""Judges what a mirror shows by what the onlooker saw. It reads it as users do, and shares no rule with parasync."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from parasync.errors import NotReadyError
from parasync.protocol import Beat, Digests, Envelope, Scan, Scanned, Status, Version
from parasync.runtime._mirror_views import MirrorChange
from parasync.testing.simulation._disk import Disk
from parasync.testing.simulation._journal import GONE, NOWHERE, Content, Journal, Place, place_of
from parasync.testing.simulation._reflection import GROUPS, Reflection, group_of
from parasync.testing.simulation._scenario import Topology
from parasync.testing.simulation._tap import after
from parasync.testing.simulation._truth import SLACK_S, Truth

_MISSING: Final = object()


class MirrorJudge:
    """Compares, and notes what is broken.

    Args:
        name: of the process.
        topology: who takes part.
        journal: what was seen.
        truth: what was written.
        keys: the objects that the mirror has to hold.
    """

    def __init__(self, name: str, topology: Topology, journal: Journal, truth: Truth, keys: Sequence[str]) -> None:
        self.seen = Reflection(name, None, {}, [0])  # type: ignore[arg-type]  # before the first one is opened
        self._name = name
        self._topology = topology
        self._journal = journal
        self._truth = truth
        self._keys = keys
        self._checked: dict[str, tuple[Place | None, Any]] = {}

    # What comes in

    def hears(self, place: Place, key: str, envelope: Envelope[Any], deliver: Callable[[], None]) -> None:
        """A live envelope comes: the mirror applies it, drops it, or refuses it, and says what it does not know."""
        seen, ident = self.seen, key.partition(":")[2]
        was, status, counted, told = self._place(ident), seen.mirror.status, seen.mirror.stats, max(seen.heard, seen.told)
        deliver()
        now, says, stats = self._place(ident), seen.mirror.status, seen.mirror.stats
        if key not in self._keys:
            if now is not None:
                self._broken("P2", f"holds {key}, which is not one of its objects")
            return
        forgets = now is None and self._content(key, place) == GONE
        if now not in (was, place) and not forgets:
            self._broken("P1", f"went from {key} {was} to {now} when it heard {place}")
        if now == place != was:
            if place[0] < seen.heard:
                self._broken("P1", f"shows {key} {place}, and has heard of epoch {seen.heard}")
            if place[0] > told and says is Status.OK:
                self._broken("P6", f"heard of epoch {place[0]} for the first time, and says OK")
            if was is not None and was[0] == place[0] and status is not Status.SKEW and seen.mirror.loaded.done:
                lost = after(envelope) > was[1]
                if lost != (stats.gaps == counted.gaps + 1):
                    counts = f"counted {stats.gaps - counted.gaps} gaps"
                    self._broken("P4", f"had {key} {was}, heard {place} after {after(envelope)}, and {counts}")
                if lost and self._topology.gap == "refetch" and says is Status.OK:
                    self._broken("P6", f"had {key} {was}, heard {place} after {after(envelope)}, and says OK")
        if stats.parse_errors + stats.schema_skews > counted.parse_errors + counted.schema_skews and says is Status.OK:
            self._broken("P3", f"refused {key} {place}, and says OK")
        seen.heard = max(seen.heard, place[0])

    def interrupted(self) -> None:
        """It was told that envelopes may have been lost."""
        if self.seen.mirror.status is Status.OK:
            self._broken("P6", "was told that envelopes may have been lost, and says OK")

    def beats(self, beat: Beat, deliver: Callable[[], None]) -> None:
        """A beat comes, and may prove it."""
        seen = self.seen
        age_s = seen.mirror.age_s
        deliver()
        seen.told = max(seen.told, beat.epoch)
        if seen.mirror.age_s < age_s - SLACK_S:
            self._journal.reached["a mirror was proven by " + ("names" if seen.mirror.pattern else "a digest")] += 1

    def answers(self, request: Any, response: Any) -> None:
        """An answer has come, and will be looked at."""
        seen, reached = self.seen, self._journal.reached
        seen.told = max(seen.told, getattr(response, "epoch", 0))
        if isinstance(response, Digests):
            reached["a mirror compared the digests of buckets"] += 1
        if isinstance(request, Scan) and isinstance(response, Scanned):
            if response.covered is not None:
                reached["a round goes on page by page" if seen.mirror.loaded.done else "a first load came page by page"] += 1
            if len(request.buckets) <= len(self._keys):
                reached["a round asked for a few buckets only"] += 1

    # What it shows

    def changed(self, change: MirrorChange[Any]) -> None:
        """A listener was told of a change."""
        journal, seen, key, place = self._journal, self.seen, change.key, place_of(change.version)
        was = seen.shown.get(key)
        if was is not None and place <= was:
            self._broken("P1", f"went from {key} {was} to {place}")
        elif was is not None:
            self._skipped(key, was, place, change.skipped)
        seen.shown[key] = place
        seen.heard = max(seen.heard, place[0])
        self._truth.shows(self._name, key, place, change.new, deleted=change.deleted)
        if change.deleted:
            answer = change.cause == "answer"
            journal.reached["a mirror learned of a deletion by an answer" if answer else "a deletion came live"] += 1
        journal.note(self._name, f"shows {key} {change.version}, {change.cause}")

    def followed(self, seen: Reflection, change: MirrorChange[Any]) -> None:
        """One who follows the changes was told of one."""
        key, place = change.key, place_of(change.version)
        was = seen.followed.get(key)
        if was is not None and place <= was:
            self._broken("P1", f"told one who follows of {key} {was} and then of {place}")
        elif was is not None:
            self._skipped(key, was, place, change.skipped, merged=True)
        seen.followed[key] = place
        self._truth.shows(self._name, key, place, change.new, deleted=change.deleted)

    def _skipped(self, key: str, was: Place, place: Place, skipped: int | None, *, merged: bool = False) -> None:
        """What was said of the versions between; of several steps that became one, nobody may know."""
        between = place[1] - was[1] - 1 if was[0] == place[0] else None
        forgotten = self._forgotten(key, None, was)  # and what nobody knows of begins with what comes first
        if skipped != between and not (merged and skipped is None) and not forgotten:
            self._broken("P4", f"went from {key} {was} to {place}, and says that it skipped {skipped}")

    def look(self) -> None:
        """Somebody reads the mirror."""
        seen = self.seen
        opened = seen.mirror
        status, age_s, reason = opened.status, opened.age_s, opened.reason
        if status is Status.CLOSED:
            return  # it begins again in a moment
        if (status is Status.OK) != (reason == ""):
            self._broken("P6", f"says {status.name} for the reason {reason!r}")
        if opened.stats.handler_errors != seen.raised[0]:
            self._broken("P7", f"counts {opened.stats.handler_errors} errors of functions, expected {seen.raised[0]}")
        if not opened.loaded.done:
            self._unloaded(status)
            return
        if status is Status.OK:
            if not 0 <= age_s <= self._truth.stale_after_s:
                self._broken("P6", f"says OK with a proof of {age_s} s ago")
            self._sure(self._journal.now_s() - age_s)
        if seen.warm:
            seen.warm = status is not Status.OK
            self._journal.reached["a mirror showed what was saved" if seen.warm else "what was saved was proven"] += 1
        for key in self._keys:
            self._look_at(key)
        if len(opened) > len(self._keys):
            self._broken("P2", f"shows {sorted(opened)}, expected some of {self._keys}")

    def _unloaded(self, status: Status) -> None:
        if status is Status.OK:
            self._broken("P6", "says OK before the first load was done")
        try:
            len(self.seen.mirror)
        except NotReadyError:
            return
        self._broken("P6", "can be read before the first load was done")

    def _look_at(self, key: str) -> None:
        seen, ident = self.seen, key.partition(":")[2]
        place, value, was = self._place(ident), seen.mirror.get(ident, _MISSING), seen.shown.get(key)
        if self._checked.get(key) == (place, value):
            return
        self._checked[key] = place, value
        if was is not None and (place or NOWHERE) < was and not self._forgotten(key, place, was):
            self._broken("P1", f"shows {key} {place}, and showed {was}")
        missing = value is _MISSING
        self._truth.shows(self._name, key, place or NOWHERE, None if missing else value, deleted=missing)

    def _place(self, ident: str) -> Place | None:
        version = self.seen.mirror.version_of(ident)
        # Before the first version of an object that can be read, it may be known not to have been there. What was deleted is
        # forgotten.
        return None if version is None or place_of(version) == NOWHERE else place_of(version)

    def _sure(self, since_s: float) -> None:
        for key in self._keys:
            self._truth.sure(self._name, key, self._place(key.partition(":")[2]) or NOWHERE, since_s)

    def proven(self, since_s: float) -> None:
        """A read that demanded a proof since then has returned."""
        age_s = self.seen.mirror.age_s
        if age_s > self._journal.now_s() - since_s + SLACK_S:
            self._broken("P6", f"has a proof of {age_s} s ago where one since {since_s} was demanded")
        # What cannot be read of one object must not keep the others from being proven; the status tells of it.
        if self.seen.mirror.status is not Status.SKEW:
            self._sure(since_s)

    def reached(self, key: str, wanted: Version) -> None:
        """A read that demanded a version has returned."""
        version = self.seen.mirror.version_of(key.partition(":")[2])
        if self._forgotten(key, None if version is None else place_of(version), place_of(wanted)):
            return
        if version is None or version < wanted:
            self._broken("P6", f"returned from at_least({wanted}) at {key} {version}")
        else:
            self._truth.reached(self._name, key, wanted, version)

    # When all is well again

    def at_rest(self, truth: Disk) -> None:
        """Faults have stopped long enough ago: it shows all that is stored and says so."""
        self.look()
        seen, opened, unreadable = self.seen, self.seen.mirror, False
        if not opened.loaded.done:
            self._broken("P5", f"has not loaded: {opened.reason}")
            return
        for key in self._keys:
            ident, place = key.partition(":")[2], truth.contents.get(key, NOWHERE)
            content = self._content(key, place)
            stands, value = self._place(ident), opened.get(ident, _MISSING)
            if not content.readable:
                unreadable = True
                continue
            wanted = self._topology.value(content.number) if content.number else _MISSING
            forgotten = stands is None and (place <= truth.floor or self._forgotten(key, None, place))
            if not (forgotten or truth.is_at(key, stands or NOWHERE)) or value != wanted:
                self._broken("P5", f"stands at {key} {stands}; stored is {place}, {content}")
            told = seen.followed.get(key)
            # To whom an object was deleted and forgotten, another deletion of it is no news.
            no_news = told is not None and wanted is _MISSING and self._forgotten(key, None, told)
            if told not in (None, stands) and not no_news:
                self._broken("P5", f"stands at {key} {stands}, told one who follows of {seen.followed[key]}")
        if opened.status is not (Status.SKEW if unreadable else Status.OK):
            self._broken("P5", f"says {opened.status.name}: {opened.reason}")
        beats_s = self._topology.terms.beat_interval_s if self._topology.beats else self._truth.stale_after_s
        if opened.age_s > 2 * beats_s:
            self._broken("P5", f"has a proof of {opened.age_s} s ago, where one is expected every {beats_s} s")
        self._arranged()

    def _arranged(self) -> None:
        """The views show what goes through all objects would find."""
        seen = self.seen
        assert seen.index is not None and seen.unique is not None and seen.where is not None  # noqa: PT018, S101  # opened with it
        groups: dict[int, dict[str, Any]] = {}
        for ident, value in seen.mirror.items():
            groups.setdefault(group_of(value), {})[ident] = value
        strict = {group: each for group, each in groups.items() if group != GROUPS - 1}
        found = {group: dict(each) for group, each in seen.index.items()}
        if found != groups:
            self._broken("P7", f"has the index {found}, expected {groups}")
        if dict(seen.unique) != {group: each[min(each)] for group, each in strict.items()}:
            self._broken("P7", f"has the unique index {dict(seen.unique)}, expected one each of {strict}")
        shared = {group: tuple(sorted(each)) for group, each in strict.items() if len(each) > 1}
        if seen.unique.conflicts != shared:
            self._broken("P7", f"has the conflicts {seen.unique.conflicts}, expected {shared}")
        if dict(seen.where) != groups.get(0, {}):
            self._broken("P7", f"has the selection {dict(seen.where)}, expected {groups.get(0, {})}")

    def _forgotten(self, key: str, place: Place | None, was: Place) -> bool:
        """Whether it stands nowhere since it was deleted, which nobody remembers, or only beside what cannot be read."""
        deleted = self._content(key, was) == GONE and any(floor >= was for floor in self._journal.floors)
        return place is None and (deleted or self._journal.forgotten(key, was))

    def _content(self, key: str, place: Place) -> Content:
        return self._journal.written[key].get(place, GONE)

    def _broken(self, promise: Any, text: str) -> None:
        self._journal.broken(promise, self._name, text)
