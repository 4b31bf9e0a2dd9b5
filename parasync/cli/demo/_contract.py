"""What the processes of the demonstration agree on: the load of the machine, and its busiest processes, in two shapes."""

from __future__ import annotations

from typing import Any, Final

import attrs

from parasync import Pace, Topic


@attrs.frozen
class Load:
    """How busy the machine is."""

    tick: int
    cpu_percent: float
    cores: tuple[float, ...]
    memory_percent: float


@attrs.frozen
class ProcessOf1:
    """A process, as schema major 1 has it."""

    pid: int
    name: str
    cpu_percent: float
    memory_mb: int


@attrs.frozen
class Usage:
    """What a process uses."""

    cpu_percent: float
    memory_mb: int


@attrs.frozen
class ProcessOf2:
    """A process, as schema major 2 has it."""

    pid: int
    name: str
    usage: Usage


def from_major_1(plain: Any) -> Any:
    """A process of major 1 in the shape of major 2."""
    usage = {"cpu_percent": plain["cpu_percent"], "memory_mb": plain["memory_mb"]}
    return {"pid": plain["pid"], "name": plain["name"], "usage": usage}


LOAD: Final = Topic("load", Load, version="1.0")
OLD: Final = Topic("process", ProcessOf1, version="1.0")
NEW: Final = Topic("process", ProcessOf2, version="2.0", upcasts={1: from_major_1})

RANKS: Final = ("1", "2", "3")
"""The ids of the topic of processes: the busiest, the second, the third."""
KEYS: Final = (LOAD.ref().key, *(OLD[rank].key for rank in RANKS))

WRITE_S: Final = 0.1
"""How often the demonstration writes the load, in seconds."""
RANK_S: Final = 0.4
"""How often the demonstration writes the busiest processes, in seconds."""
SAMPLE_S: Final = 0.05
"""How often a replica of the demonstration books what it says of itself, in seconds."""
REPORT_S: Final = 0.1
"""How often a process of the demonstration tells how it is, in seconds."""

PACE: Final = Pace(reconcile_interval_s=0.7, ask_timeout_s=0.7, backoff_base_s=0.05, backoff_max_s=0.5)
STALE_AFTER_S: Final = 1.75
"""How old a proof may be for a replica of the demonstration to say OK, in seconds."""
