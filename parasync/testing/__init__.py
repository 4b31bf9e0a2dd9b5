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
from parasync.testing.simulation import simulate
from parasync.testing.simulation._course import Course, Event, Step, Violation
from parasync.testing.simulation._many import Simulation
from parasync.testing.simulation._scenario import FaultPlan, ProcessFaults, Topology
from parasync.testing.simulation._totals import Totals

__all__ = [
    "ChaosProxy",
    "Clause",
    "Course",
    "Cut",
    "Ends",
    "Event",
    "FaultPlan",
    "Faults",
    "FaultyStore",
    "FaultyTransport",
    "Finding",
    "NatsServer",
    "ProcessFaults",
    "Report",
    "Simulation",
    "Step",
    "StoreFaults",
    "Topology",
    "Totals",
    "Trace",
    "Violation",
    "check_store",
    "check_transport",
    "find_nats_server",
    "run",
    "settle",
    "simulate",
    "sweep",
]
