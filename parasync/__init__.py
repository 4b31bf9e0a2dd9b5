"""Typed, server-authoritative objects, kept in sync.

    authority -> envelope -> codec -> transport -> replica rules -> cell -> user

An `authority` writes the objects of a `Topic`; each write becomes an `Envelope`, which a `Codec` turns into bytes where a bus
needs them; a `SyncTransport` carries it; the rules of a replica decide whether it is applied; and `synced` shows the newest
good value and says how sure it is of it. A `mirror` does that for a whole topic.
"""

from parasync.codec import Codec, MsgpackCodec
from parasync.errors import ParasyncError
from parasync.protocol import ABSENT, Envelope, Kind, SchemaVersion, Seen, Status, Version
from parasync.runtime._authority import authority
from parasync.runtime._cell import Cell
from parasync.runtime._index import Index, UniqueIndex, Where
from parasync.runtime._mirror import mirror
from parasync.runtime._mirror_file import MirrorSnapshot
from parasync.runtime._mirror_views import Loaded, MirrorChange
from parasync.runtime._mirror_waits import MirrorObject
from parasync.runtime._office import Terms
from parasync.runtime._recorder import Recorder
from parasync.runtime._recovery import Pace
from parasync.runtime._stream import CHANGES_MAX
from parasync.runtime._synced import synced
from parasync.runtime._views import Change, ReplicaMeta, Snapshot, Stats
from parasync.stores import MemoryStore, Store
from parasync.topic import Ref, Topic
from parasync.transports._connect import connect
from parasync.transports._inprocess import InProcessTransport
from parasync.transports._protocol import Capabilities, SyncTransport

__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "CHANGES_MAX",
    "Capabilities",
    "Cell",
    "Change",
    "Codec",
    "Envelope",
    "InProcessTransport",
    "Index",
    "Kind",
    "Loaded",
    "MemoryStore",
    "MirrorChange",
    "MirrorObject",
    "MirrorSnapshot",
    "MsgpackCodec",
    "Pace",
    "ParasyncError",
    "Recorder",
    "Ref",
    "ReplicaMeta",
    "SchemaVersion",
    "Seen",
    "Snapshot",
    "Stats",
    "Status",
    "Store",
    "SyncTransport",
    "Terms",
    "Topic",
    "UniqueIndex",
    "Version",
    "Where",
    "authority",
    "connect",
    "mirror",
    "synced",
]
