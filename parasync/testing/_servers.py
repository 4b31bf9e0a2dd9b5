"""Real servers for tests, to be started, killed, frozen and restarted."""

from __future__ import annotations

from parasync.transports._nats_process import NatsServer, find_nats_server

__all__ = ["NatsServer", "find_nats_server"]
