"""The same objects for programs without an event loop: Django, Flask, Celery, scripts.

One thread of the process runs a loop, from first use to the end of the interpreter; every call here blocks until that thread
has done its part, or a time is over. An object belongs to the process that made it: a forked one makes its own (`per_process`).
"""

from parasync.threads._authority import authority
from parasync.threads._bus import Bus, connect
from parasync.threads._changes import Changes, MirrorChanges
from parasync.threads._home import CALL_TIMEOUT_S, EXIT_TIMEOUT_S, LOOP_GRACE_S, shutdown
from parasync.threads._mirror import MirrorObject, mirror
from parasync.threads._process import per_process
from parasync.threads._synced import reads, synced

__all__ = [
    "CALL_TIMEOUT_S",
    "EXIT_TIMEOUT_S",
    "LOOP_GRACE_S",
    "Bus",
    "Changes",
    "MirrorChanges",
    "MirrorObject",
    "authority",
    "connect",
    "mirror",
    "per_process",
    "reads",
    "shutdown",
    "synced",
]
