"""What we break parasync with, for you to break your own transports, stores and services with."""

from parasync.testing._faults import Fault, Faults, StoreFault, StoreFaults
from parasync.testing._faulty_store import FaultyStore
from parasync.testing._faulty_transport import FaultyTransport
from parasync.testing._proxy import ChaosProxy
from parasync.testing._servers import NatsServer, find_nats_server

__all__ = [
    "ChaosProxy",
    "Fault",
    "Faults",
    "FaultyStore",
    "FaultyTransport",
    "NatsServer",
    "StoreFault",
    "StoreFaults",
    "find_nats_server",
]
