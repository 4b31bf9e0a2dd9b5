"""The pytest plugin of parasync: fixtures and options, and nothing that happens in a project that does not use them.

It stands beside the package and not in it, since pytest loads it in every project that has parasync installed, before coverage
is measured: a plugin inside of the package would load all of parasync each time. Here, a fixture that is used does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from parasync import InProcessTransport
    from parasync.testing import NatsServer, Simulation

RUNS: Final = 20
"""How many seeds a test simulates, unless told otherwise."""
RANDOM_SEEDS: Final = 1_000_000
"""How many seeds there are to draw one from."""

_SEED: Final = "parasync_seed"
_RUNS: Final = "parasync_runs"
_REPEAT: Final = "parasync: repeat"


@pytest.fixture
def nats_server() -> Iterator[NatsServer]:
    """A real NATS server on a free port, fresh for each test; it can be killed, frozen and restarted."""
    from parasync.errors import UsageError
    from parasync.testing import NatsServer

    server = NatsServer()
    try:
        server.start()
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def inprocess_transport() -> Iterator[InProcessTransport]:
    """A bus inside this process, closed after the test: for plain tests and for those in an event loop, of whatever plugin."""
    from parasync import InProcessTransport

    with InProcessTransport() as bus:
        yield bus


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Simulation:
    """Simulates, once for each seed, and fails at the first that breaks a promise; called as `simulate` is, without a seed."""
    from parasync.testing import Simulation

    def broken(seed: int) -> str:
        again = f"pytest --parasync-seed={seed} --parasync-runs=1 '{request.node.nodeid}'"
        request.node.user_properties.append((_REPEAT, again))
        return f"repeat it with: {again}"

    return Simulation(_seed(request.config), _runs(request.config), broken)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and what stands for them in a configuration file."""
    group = parser.getgroup("parasync")
    seed = "The first seed of the fixture simulation, or `random` to draw one; 0 if nothing is said."
    runs = f"How many seeds the fixture simulation tries; {RUNS} if nothing is said."
    group.addoption("--parasync-seed", type=_seed_of, metavar="SEED", help=seed)
    group.addoption("--parasync-runs", type=_runs_of, metavar="N", help=runs)
    parser.addini(_SEED, seed, default=None)
    parser.addini(_RUNS, runs, default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Take what the configuration file says where the command line says nothing, and draw a seed if that is wanted."""
    for name, parse in ((_SEED, _seed_of), (_RUNS, _runs_of)):
        said = config.getini(name)
        if getattr(config.option, name, None) is None and said not in (None, ""):
            try:
                setattr(config.option, name, parse(str(said)))
            except argparse.ArgumentTypeError as error:
                raise pytest.UsageError(f"{name}: {error}") from None
    if config.getoption(_SEED) == "random":
        import secrets

        # In the option itself, so that processes of pytest-xdist get the same.
        config.option.parasync_seed = secrets.randbelow(RANDOM_SEEDS)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which seeds are tried, where somebody chose them."""
    if config.getoption(_SEED) is None and config.getoption(_RUNS) is None:
        return None
    seed, runs = _seed(config), _runs(config)
    return f"parasync: seeds {seed} to {seed + runs - 1} (--parasync-seed={seed} --parasync-runs={runs})"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how to repeat what failed."""
    failed = terminalreporter.stats.get("failed", [])
    commands = [text for report in failed for name, text in report.user_properties if name == _REPEAT]
    if commands:
        terminalreporter.section("broken promises of parasync")
        for command in commands:
            terminalreporter.write_line(command)


def _seed(config: pytest.Config) -> int:
    seed = config.getoption(_SEED)
    return 0 if seed is None else int(seed)


def _runs(config: pytest.Config) -> int:
    runs = config.getoption(_RUNS)
    return RUNS if runs is None else int(runs)


def _seed_of(text: str) -> int | str:
    return text if text == "random" else _number(text, 0, "a seed from 0, or random")


def _runs_of(text: str) -> int:
    return _number(text, 1, "a count from 1")


def _number(text: str, least: int, expected: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}")
    return int(text)
