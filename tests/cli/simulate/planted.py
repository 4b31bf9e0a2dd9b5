"""The real simulator, of a parasync whose replicas believe what is older than what they show."""

from __future__ import annotations

from parasync.testing.simulation._report import course_of, simulate
from tests.simulation.planted import PLANTED

__all__ = ["course_of", "simulate"]

_bug = PLANTED[0]
setattr(_bug.owner, _bug.function, _bug.made())
