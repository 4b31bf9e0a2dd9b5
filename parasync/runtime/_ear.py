"""Hears the beats of one topic, and answers probes, for all replicas that were made in one event loop."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, cast

from parasync.protocol import Beat, Company, Probe, ProbeReply
from parasync.runtime._group import Group
from parasync.runtime._locks import NotedLock
from parasync.runtime._member import Member
from parasync.runtime._recovery import Pace
from parasync.runtime._world import Clock
from parasync.transports._protocol import AskTransport, SyncTransport, Unsubscribe, beats_over

logger: Final = logging.getLogger("parasync")

Place: TypeAlias = tuple[str, AbstractEventLoop | None, bool]
"""A topic, a loop, and whether beats mean anything there."""

Kind: TypeAlias = tuple[int, bool, float]
"""What replicas must have in common to stand together: which clock it is (it is the user's, and need not be hashable), and how
old a proof may become by whose word."""


class Ear:
    """Answers the probes of one topic in one event loop, and hears its beats, for all replicas that were made there.

    A beat is judged once for all who are in a company. Who is in none, or is in none any more, is noted as it happens.

    Args:
        place: the topic, the loop, and whether what the replicas there are answered tells them of beats.
        transport: where to listen.
        groups: who follows which key.
    """

    __slots__ = ("_alone", "_companies", "_ends", "_groups", "_lock", "_noted", "_touched", "members", "place")

    def __init__(self, place: Place, transport: AskTransport, groups: Mapping[str, Group]) -> None:
        topic, _, beats = place
        self.place = place
        self._groups = groups
        self.members: dict[Member[Any], tuple[Group, Pace]] = {}
        self._alone: dict[Member[Any], None] = {}
        self._companies: dict[Kind, tuple[Clock, Company]] = {}
        self._touched: dict[Group, None] = {}
        self._lock = NotedLock()
        self._ends = [transport.answer_probes(topic, self.probed)]
        bus = beats_over(transport) if beats and isinstance(transport, SyncTransport) else None
        self._noted = () if bus is None else (self._touched,)
        if bus is not None:
            try:
                self._ends.append(bus.subscribe_beats(topic, self.beaten))
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Hear nothing more."""
        for each in self._ends:
            end(each)

    def add(self, member: Member[Any], group: Group, pace: Pace) -> None:
        """Listen for one more replica. Under the lock of the hub."""
        self.members[member] = group, pace
        self._alone[member] = None
        if not member.lossless and not any(noted is self._touched for noted in group.touched):
            # Mostly there is one, and thousands of groups share the tuple.
            group.touched = group.touched + self._noted if group.touched else self._noted

    def remove(self, member: Member[Any], group: Group) -> bool:
        """Listen for one less; returns whether nobody is left. Under the lock of the hub."""
        known = self.members.pop(member, None) is not None
        member.stand_alone()
        self._alone.pop(member, None)
        if not any(other in self.members for other in group.members):
            group.touched = tuple([noted for noted in group.touched if noted is not self._touched])
            self._touched.pop(group, None)
        return known and not self.members

    def beaten(self, beat: Beat) -> None:
        """An authority beats: what that comes to, each replica decides alone, or the company that it is in.

        Two authorities may beat in two threads: a beat that comes while another one is judged is judged after it.
        """
        self._lock.note(partial(self._beaten, beat))

    def _beaten(self, beat: Beat) -> None:
        """Under the lock."""
        for member in self._disturbed(beat):
            self._alone[member] = None
        self._recall_all()
        judged = list(self._alone)
        for member in judged:
            member.stand_alone()
        # Those are noted already; who left only now would be taken for one who leaves after this beat.
        self._recall_all()
        for member in judged:
            self._judge(member, beat)
        for kind, (clock, company) in list(self._companies.items()):
            if not company.beat_received(beat, clock()):
                # All are noted before anybody is judged, whatever that raises.
                members = [member for member in list(self.members) if member.footing is company]
                self._alone |= dict.fromkeys(members)
                self._recall(company)
                del self._companies[kind]
                for member in members:
                    self._judge(member, beat)
                judged += members
        for member in judged:
            self._gather(member, beat)

    def _recall_all(self) -> None:
        for kind, (_, company) in list(self._companies.items()):
            self._recall(company)
            if not company.count:
                del self._companies[kind]

    def _recall(self, company: Company) -> None:
        """Note those who have left a company."""
        while company.left:
            self._alone[cast("Member[Any]", company.left.pop())] = None
            company.count -= 1

    def _disturbed(self, beat: Beat) -> Iterator[Member[Any]]:
        """Of whom there is more to say than that an authority beats."""
        for group in list(self._touched):
            # First out, then look: what comes in between is noted again.
            self._touched.pop(group, None)
            yield from [member for member in group.members if member in self.members]
        for key, position in beat.named.items():
            if (named := self._groups.get(key)) is not None:
                for member in named.members:
                    if member in self.members and not (member.footing.left is not None and member.knows(position)):
                        yield member

    def _judge(self, member: Member[Any], beat: Beat) -> None:
        place = self.members.get(member)
        if place is not None:
            group, pace = place
            # Where no loop runs, nobody would look again.
            group.beaten(member, beat, pace.clock(), 0.0 if self.place[1] is None else pace.beat_grace_s)

    def _gather(self, member: Member[Any], beat: Beat) -> None:
        """Let one that the beat has proven be in a company from now on."""
        place = self.members.get(member)
        if place is None:
            self._alone.pop(member, None)
            return
        if not member.at_ease:
            return
        group, pace = place
        clock = pace.clock
        kind = id(clock), member.stale_by_beats, member.stale_after_s
        _, company = self._companies.get(kind, (clock, None))
        if company is None and member.base[:2] == (beat.epoch, beat.number):
            company = Company(member, beat, clock())
            self._companies[kind] = clock, company
        if company is not None and group.moves(member, company, beat, clock()):
            self._alone.pop(member, None)

    def probed(self, probe: Probe) -> ProbeReply | None:
        """An authority looks who is there: tell it of an epoch above its own, and learn from it of a new life."""
        heard = 0
        for member in list(self.members):
            heard = max(heard, member.current_epoch)
            known = max(member.current_epoch, member.announced or 0)
            if probe.serving and probe.epoch > known and (place := self.members.get(member)):
                if member.announced is not None:
                    member.announced = probe.epoch
                place[0].doubt(member, "another life of the authority was heard", heard=True)
        return ProbeReply(heard, serving=False) if heard > probe.epoch else None


def end(unsubscribe: Unsubscribe) -> None:
    """End a subscription, whatever comes of it."""
    try:
        unsubscribe()
    except Exception as error:  # noqa: BLE001  # the transport is not ours, and the books must be right all the same
        logger.warning("a subscription could not be ended: %s", type(error).__name__)
