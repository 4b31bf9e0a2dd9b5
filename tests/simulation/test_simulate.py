"""One simulation: it keeps to its seed, breaks no promise, sees those that are broken, and tells the shortest way there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from parasync import InProcessTransport, Pace, SyncTransport, Topic, authority, synced
from parasync.errors import BrokenPromiseError, UsageError
from parasync.protocol import BEAT_INTERVALS_MAX, Beat, Pulse
from parasync.protocol._standing import Standing
from parasync.runtime._heart import Heart
from parasync.testing import Course, FaultPlan, Faults, ProcessFaults, StoreFaults, Topology, simulate
from parasync.testing.simulation._course import Event
from parasync.testing.simulation._plan import drawn_topology
from parasync.testing.simulation._scenario import BOXES, Box
from parasync.testing.simulation._simulate import course_of
from parasync.transports import Capabilities
from tests.hash_seeds import printed
from tests.protocol.mutants import Mutant
from tests.simulation.planted import PLANTED, planted

ROOT: Final = Path(__file__).parents[2]
CALM: Final = FaultPlan()
SMALL: Final = Topology(authorities=1, readers=1, replicas=1, keys=1, actions=10, safety_s=5.0)


def bug(rule: str) -> Mutant:
    (found,) = [mutant for mutant in PLANTED if mutant.rule == rule]
    return found


def test_without_faults_everybody_shows_everything() -> None:
    course = simulate(SMALL, CALM)
    assert course.violations == ()
    assert course.fired == {}
    assert course.strikes == ()
    assert course.reached.get("gap seen", 0) == 0
    assert course.virtual_s > SMALL.safety_s
    assert any(step.text.startswith("box:0") for step in course.steps if step.kind == "message")


def test_a_seed_takes_one_course_and_another_seed_another() -> None:
    first, again, other = course_of(seed=7), course_of(seed=7), course_of(seed=8)
    assert first == again
    assert first.digest != other.digest


@pytest.mark.processes
def test_a_seed_takes_the_same_course_in_every_process() -> None:
    code = (
        "from parasync.testing.simulation._simulate import course_of;"
        "print([course_of(seed=seed).digest for seed in range(5)])"
    )
    assert printed(code).strip() == str([course_of(seed=seed).digest for seed in range(5)])


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        *[
            (kind, FaultPlan(network=Faults(**{kind: 0.3})))
            for kind in ("drop", "duplicate", "reorder", "delay", "corrupt", "truncate", "poison")
        ],
        *[(kind, FaultPlan(network=Faults(**{kind: 0.1}))) for kind in ("partition", "disconnect", "slow", "hang")],
        *[(kind, FaultPlan(store=StoreFaults(**{kind: 0.2}))) for kind in ("before", "after", "slow", "hang", "foreign")],
        ("kill", FaultPlan(processes=ProcessFaults(kills=3))),
        ("stop", FaultPlan(processes=ProcessFaults(stops=3))),
        ("data lost", FaultPlan(processes=ProcessFaults(stops=3, losses=3))),
        ("older data", FaultPlan(processes=ProcessFaults(stops=3, restores=3))),
        ("clock set back", FaultPlan(processes=ProcessFaults(stops=3, clocks=3))),
        ("rollout", FaultPlan(processes=ProcessFaults(stops=3, rollouts=2))),
        ("rogue", FaultPlan(processes=ProcessFaults(rogues=3))),
        ("raise", FaultPlan(processes=ProcessFaults(raises=2))),
        ("cancel", FaultPlan(network=Faults(drop=0.5), processes=ProcessFaults(cancels=9))),
    ],
)
def test_each_fault_alone_really_strikes_and_breaks_no_promise(kind: str, plan: FaultPlan) -> None:
    topology = Topology(actions=40, safety_s=15.0)
    fired = [simulate(topology, plan, seed).fired for seed in range(4)]
    assert sum(each.get(kind, 0) for each in fired) > 0
    other = {name for each in fired for name in each} - {kind, "stop", "drop"}
    assert not other


def test_joins_and_leaves_are_done() -> None:
    plan = FaultPlan(processes=ProcessFaults(joins=3, leaves=2))
    course = simulate(Topology(), plan)
    assert [event.name for event in course.events if event.name in ("join", "leave")].count("join") == 3
    assert any("closes" in step.text for step in course.steps)


@pytest.mark.parametrize(("pattern", "proof"), [(False, "a digest"), (True, "names")])
def test_mirrors_are_closed_and_begin_again(pattern: bool, proof: str) -> None:
    topology = Topology(mirrors=2, keys=3, pattern=pattern, answer_bytes=64)
    course = simulate(topology, FaultPlan(processes=ProcessFaults(reopens=4, raises=4)), 1)
    assert course.fired["reopen"] == 4
    assert course.reached[f"a mirror was proven by {proof}"] > 0
    assert course.reached["what was saved was proven"] > 0
    assert any(step.source == "mirror 2" and "shows box:" in step.text for step in course.steps)


def test_several_authorities_share_a_disk_or_have_their_own() -> None:
    for disks in ("shared", "own"):
        topology = Topology(authorities=3, disks=disks)  # type: ignore[arg-type]  # mypy does not see the literals of a loop
        course = simulate(topology, FaultPlan(processes=ProcessFaults(kills=2)))
        assert {step.source for step in course.steps if step.source.startswith("authority")} == {
            "authority 1",
            "authority 2",
            "authority 3",
        }


def test_a_monolith_loses_nothing() -> None:
    course = simulate(Topology(monolith=True), FaultPlan(network=Faults(drop=1.0)))
    assert "drop" not in course.fired


async def _loses_its_head(bus: SyncTransport) -> None:
    async with synced(BOXES["0"], bus, pace=Pace(ask_timeout_s=1.0)) as box:
        await box.ready()
        raise RuntimeError("this is no box")


def test_a_service_that_raises_is_a_broken_promise() -> None:
    with pytest.raises(BrokenPromiseError, match=r"P7 .* service 1: raised RuntimeError"):
        simulate(attrs.evolve(SMALL, services=(_loses_its_head,)), CALM, shrinks=False)


def test_a_service_that_only_waits_is_ended() -> None:
    ended: list[bool] = []

    async def follows(bus: SyncTransport) -> None:
        async with synced(BOXES["0"], bus) as box:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(box.peek() is not None)

    assert simulate(attrs.evolve(SMALL, services=(follows,)), CALM).violations == ()
    assert ended == [True]


VIEWS: Final = Topic("view", int)


async def _makes_views(bus: SyncTransport) -> None:
    """Reads one topic and owns another; its replicas do not share their asks."""
    async with (
        authority(VIEWS, bus) as views,
        synced(VIEWS["0"], bus, pace=Pace(ask_timeout_s=1.0)) as view,
        synced(BOXES["0"], bus, pace=Pace(ask_timeout_s=1.0)) as box,
        synced(BOXES["0"], bus, pace=Pace(ask_timeout_s=0.9)) as other,
    ):
        async for change in box.changes():
            if not change.deleted:
                await views.put("0", change.new.number)
                await asyncio.gather(box.when_idle(), other.when_idle(), view.when_idle())


@pytest.mark.parametrize("monolith", [False, True])
def test_a_service_may_own_a_topic_and_ask_as_it_likes(monolith: bool) -> None:
    plan = FaultPlan(network=Faults(drop=0.2, delay=0.2))
    topology = attrs.evolve(SMALL, actions=30, monolith=monolith, services=(_makes_views,))
    for seed in range(5):
        course = course_of(topology, plan, seed)
        assert course.violations == ()
    assert any("publishes view:0" in step.text for step in course.steps)


def test_what_is_left_behind_is_a_broken_promise() -> None:
    kept: list[Any] = []

    async def leaves(bus: SyncTransport) -> None:
        kept.append(bus.subscribe("box:0", lambda _: None))
        await asyncio.Event().wait()

    with pytest.raises(BrokenPromiseError, match=r"P8 .*1 keys with a subscription"):
        simulate(attrs.evolve(SMALL, readers=0, monolith=True, services=(leaves,)), CALM, shrinks=False)


def test_a_program_that_hangs_is_a_broken_promise() -> None:
    async def goes_round(_: SyncTransport) -> None:
        while True:  # noqa: ASYNC110  # it is what must be noticed
            await asyncio.sleep(0)

    with pytest.raises(BrokenPromiseError, match=r"P8 .*LivelockError"):
        simulate(attrs.evolve(SMALL, services=(goes_round,)), CALM, shrinks=False)


@pytest.mark.parametrize(
    ("rule", "promise", "items_max"),
    [
        ("the gap check is exact", "P4", 5),
        ("skipped versions are counted", "P4", 4),
        ("errors of listeners are counted", "P7", 3),
        ("an interruption raises a need", "P6", 3),
        ("what is stored is published", "P5", 2),
        ("a retry is recognised", "P9", 2),
    ],
)
def test_a_planted_bug_is_told_by_its_shortest_schedule(rule: str, promise: str, items_max: int) -> None:
    with planted(bug(rule)):
        for seed in range(200):
            try:
                # Without beats, which would find most of them too, in longer schedules.
                simulate(attrs.evolve(drawn_topology(seed), beats=False), seed=seed)
            except BrokenPromiseError as error:
                course: Course = error.course
                text = str(error)
                break
        else:
            pytest.fail("no seed found the bug")
        again = course_of(course.topology, course.faults, course.seed, events=course.events, only=frozenset(course.strikes))
    assert course.violations[0].promise == promise
    assert len(course.events) + len(course.strikes) <= items_max, text
    assert again == course, "the shortest schedule can be repeated"
    assert text.startswith(f"seed {course.seed} breaks a promise: {course.violations[0]}")
    assert all(str(event) in text for event in course.events)
    assert "BROKEN" in text
    sound = course_of(course.topology, course.faults, course.seed, events=course.events, only=frozenset(course.strikes))
    assert sound.violations == (), "without the bug the same schedule breaks nothing"


def test_without_shrinking_the_whole_course_is_told() -> None:
    with planted(bug("errors of listeners are counted")):
        plan = FaultPlan(processes=ProcessFaults(raises=1))
        with pytest.raises(BrokenPromiseError) as caught:
            simulate(Topology(), plan, shrinks=False)
    assert len(caught.value.course.events) > 20


def test_the_error_is_one_of_assertions_too() -> None:
    assert issubclass(BrokenPromiseError, AssertionError)


@pytest.mark.parametrize("arguments", [(1,), (None, 1), (None, None, "1")])
def test_what_is_no_topology_no_plan_and_no_seed_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match="expected a Topology, a FaultPlan and an int"):
        simulate(*arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Topology(authorities=0),
        lambda: Topology(readers=-1),
        lambda: Topology(safety_s=float("nan")),
        lambda: Topology(keys=True),
        lambda: Topology(keys=1.5),  # type: ignore[arg-type]
        lambda: Topology(authorities=1.5),  # type: ignore[arg-type]
        lambda: Topology(disks="mine"),  # type: ignore[arg-type]
        lambda: Topology(gap="ignore"),  # type: ignore[arg-type]
        lambda: Topology(topic=VIEWS),
        lambda: ProcessFaults(kills=-1),
        lambda: ProcessFaults(kills=True),
        lambda: FaultPlan(store=StoreFaults(lose=0.1)),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        make()


def test_a_transport_that_cannot_ask_is_refused_where_messages_are_lost() -> None:
    class Mute(InProcessTransport):
        @property
        def capabilities(self) -> Capabilities:
            return attrs.evolve(super().capabilities, ask=False)

    assert simulate(attrs.evolve(SMALL, transport=Mute, monolith=True), CALM).violations == ()
    with pytest.raises(UsageError, match="a transport that cannot ask"):
        simulate(attrs.evolve(SMALL, transport=Mute, monolith=True, mirrors=1), CALM)
    with pytest.raises(UsageError, match="a transport that cannot ask"):
        simulate(attrs.evolve(SMALL, transport=Mute), CALM)


def test_events_and_boxes_are_shown_as_they_are() -> None:
    assert str(Event(1.5, "write", (1, 2, 3, "put"))) == "    1.500 s  write(1, 2, 3, 'put')"
    assert BOXES.parse is not None
    assert BOXES.parse({"number": 3}) == Box(3)
    for wrong in ({"number": -3}, {"number": "3"}, {}, 3):
        with pytest.raises(ValueError, match="expected a number"):
            BOXES.parse(wrong)


def test_a_replica_is_not_patched_after_a_bug_was_planted() -> None:
    before = vars(Standing)["_is_gap"]
    with planted(bug("the gap check is exact")):
        assert vars(Standing)["_is_gap"] is not before
    assert vars(Standing)["_is_gap"] is before


def test_beats_that_name_no_more_than_one_object_break_no_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """So every few writes are a flood."""
    early, cut = list[Heart](), list[Beat]()

    class Crowded(Pulse):
        def __init__(self, **options: Any) -> None:
            super().__init__(names_max=1, **options)

        def beat(self, now_s: float, **options: Any) -> Beat:
            beat = super().beat(now_s, **options)
            cut.extend([beat] if beat.since > max(0, beat.number - BEAT_INTERVALS_MAX) else [])
            return beat

    called = Heart.beat_early
    monkeypatch.setattr(Heart, "beat_early", lambda self: (early.append(self), called(self)))
    monkeypatch.setattr("parasync.runtime._office.Pulse", Crowded)
    for seed in range(25):
        assert course_of(seed=seed).violations == ()
    assert early
    assert cut
