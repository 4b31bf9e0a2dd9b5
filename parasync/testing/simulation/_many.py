"""Many simulations in a row: what the fixture `simulation` of pytest is."""

from __future__ import annotations

from collections.abc import Callable

from parasync.errors import UsageError
from parasync.testing.simulation import simulate
from parasync.testing.simulation._scenario import FaultPlan, Topology
from parasync.testing.simulation._totals import Totals


class Simulation:
    """Simulates some seeds in a row, and raises at the first that breaks a promise.

    Args:
        first: the first seed, 0 or more.
        runs: how many seeds, above 0.
        broken: gets the seed that breaks a promise; what it returns is added to the error. Nothing by default.

    Raises:
        UsageError: `first` or `runs` makes no sense.
    """

    def __init__(self, first: int, runs: int, broken: Callable[[int], str] | None = None) -> None:
        if first < 0 or runs < 1:
            raise UsageError(f"got the seeds from {first} on and {runs} runs, expected a seed from 0 and runs above 0")
        self.seeds = range(first, first + runs)
        """The seeds that are tried."""
        self._broken = broken

    def __call__(self, topology: Topology | None = None, faults: FaultPlan | None = None, *, shrinks: bool = True) -> Totals:
        """Simulate once for each seed; the arguments are those of `simulate`.

        Args:
            topology: who takes part; None lets each seed decide.
            faults: what goes wrong; None lets each seed decide.
            shrinks: whether to look for the shortest way to a broken promise.

        Returns:
            How often each fault struck and each rare state was reached.

        Raises:
            BrokenPromiseError: a promise was broken; it ends with how to repeat that.
        """
        # What pytest shows begins where the test called.
        __tracebackhide__ = True
        totals = Totals()
        for seed in self.seeds:
            try:
                totals.add(simulate(topology, faults, seed, shrinks=shrinks))
            except AssertionError as error:
                if self._broken is not None:
                    error.add_note(self._broken(seed))
                raise error.with_traceback(None) from None
        return totals
