"""Where the figures come from: the kind of machine and the versions of everything, without a name or a path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

from benchmarks.b4_read import find_redis_server
from parasync.transports._nats_process import find_nats_server

PACKAGES = (
    "parasync", "attrs", "cattrs", "msgpack", "msgspec", "nats-py", "blinker", "psygnal", "pyee", "reactivex", "cachetools",
    "cashews", "redis",
)  # fmt: skip


def described() -> dict[str, str]:
    """The machine in words."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "system": f"{platform.system()} on {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """What was measured and what it was measured beside; what is not installed is left out."""
    found = {"Python": f"{platform.python_version()} ({platform.python_implementation()})"}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found.setdefault("parasync", _own_version())
    found["nats-server"] = _told(find_nats_server())
    if (redis := find_redis_server()) is not None:
        found["redis-server"] = _told(redis)
    return found


def _own_version() -> str:
    import parasync

    return parasync.__version__


def _told(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\d+\.\d+\.\d+", said)
    return "?" if number is None else number[0]


def _processor() -> str:
    try:
        name = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        name = None
    return platform.processor() or "?" if name is None else name[1]


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        return "?"
