"""What we break parasync with, for you to break your own transports, stores and services with."""

from parasync.testing._run import run, settle
from parasync.testing._sweep import Cut, sweep
from parasync.testing._trace import Trace
from parasync.testing.conformance import Clause, Ends, Finding, Report, check_store, check_transport

__all__ = [
    "Clause",
    "Cut",
    "Ends",
    "Finding",
    "Report",
    "Trace",
    "check_store",
    "check_transport",
    "run",
    "settle",
    "sweep",
]
