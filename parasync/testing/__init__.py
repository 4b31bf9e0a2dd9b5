"""What we break parasync with, for you to break your own transports, stores and services with."""

from parasync.testing.conformance import Clause, Ends, Finding, Report, check_store, check_transport

__all__ = ["Clause", "Ends", "Finding", "Report", "check_store", "check_transport"]
