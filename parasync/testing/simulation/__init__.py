"""Authorities, replicas and your services in a simulated world, judged by the promises of parasync."""

from parasync.testing.simulation._course import Course, Event, Step, Violation
from parasync.testing.simulation._report import simulate
from parasync.testing.simulation._scenario import FaultPlan, ProcessFaults, Topology

__all__ = ["Course", "Event", "FaultPlan", "ProcessFaults", "Step", "Topology", "Violation", "simulate"]
