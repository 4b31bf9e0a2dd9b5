"""What we break parasync with, for you to break your own transports, stores and services with."""

from parasync.testing._faults import Faults, StoreFaults
from parasync.testing._faulty_store import FaultyStore
from parasync.testing._faulty_transport import FaultyTransport
from parasync.testing._proxy import ChaosProxy
from parasync.testing._run import run, settle
from parasync.testing._servers import NatsServer, find_nats_server
from parasync.testing._sweep import Cut, sweep
from parasync.testing._trace import Trace
from parasync.testing.conformance import Clause, Ends, Finding, Report, check_store, check_transport

__all__ = [
    "ChaosProxy",
    "Clause",
    "Cut",
    "Ends",
    "Faults",
    "FaultyStore",
    "FaultyTransport",
    "Finding",
    "NatsServer",
    "Report",
    "StoreFaults",
    "Trace",
    "check_store",
    "check_transport",
    "find_nats_server",
    "run",
    "settle",
    "sweep",
]
