"""The kit that proves it: virtual time, simulated faults and conformance, for parasync and for what is built on it."""

from parasync.testing._run import run, settle
from parasync.testing._sweep import Cut, sweep
from parasync.testing._trace import Trace

__all__ = ["Cut", "Trace", "run", "settle", "sweep"]
