"""Live input: what the machine does now."""

from __future__ import annotations

import heapq
from typing import Any

import psutil

from parasync.cli.demo._contract import RANKS, Load, ProcessOf1


class Machine:
    """Reads the load and the processes of this machine; each method blocks for as long as the system takes to tell."""

    def __init__(self) -> None:
        self._tick = 0
        psutil.cpu_percent(percpu=True)
        self.busiest()

    def load(self) -> Load:
        """The load since the last call."""
        self._tick += 1
        cores = tuple(psutil.cpu_percent(percpu=True)) or (0.0,)
        return Load(self._tick, round(sum(cores) / len(cores), 1), cores, psutil.virtual_memory().percent)

    def busiest(self) -> list[ProcessOf1]:
        """As many processes as there are ranks, those first that used most since the last call."""
        facts = [process.info for process in psutil.process_iter(["pid", "name", "cpu_percent", "memory_info"])]
        chosen = heapq.nlargest(len(RANKS), facts, key=_use)
        while len(chosen) < len(RANKS):
            chosen.append({"pid": 0, "name": "-", "cpu_percent": 0.0, "memory_info": None})
        return [_process(info) for info in chosen]


def _use(info: dict[str, Any]) -> tuple[float, int]:
    return info["cpu_percent"] or 0.0, -int(info["pid"])


def _process(info: dict[str, Any]) -> ProcessOf1:
    # What the system does not tell about the processes of others is None.
    memory = info["memory_info"]
    size_mb = 0 if memory is None else memory.rss >> 20
    # A name may hold bytes that are no text.
    name = (info["name"] or "-").encode("utf-8", "replace").decode()
    return ProcessOf1(int(info["pid"]), name, float(info["cpu_percent"] or 0.0), size_mb)
