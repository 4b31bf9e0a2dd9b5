"""Whether a transport or a store keeps its contract, clause by clause."""

from parasync.testing.conformance._clauses import Clause
from parasync.testing.conformance._ends import Ends, Loss
from parasync.testing.conformance._run import Finding, Report
from parasync.testing.conformance._stores import StoreFactory, check_store
from parasync.testing.conformance._transports import TransportFactory, check_transport

__all__ = ["Clause", "Ends", "Finding", "Loss", "Report", "StoreFactory", "TransportFactory", "check_store", "check_transport"]
