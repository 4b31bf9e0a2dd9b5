"""Transports: in process here, NATS in `parasync.transports.nats`, and the contract for those that you write yourself."""

from parasync.transports._protocol import (
    AskTransport,
    BeatHandler,
    BeatMaker,
    BeatTransport,
    Capabilities,
    Handler,
    Interrupted,
    LimitedTransport,
    ProbeResponder,
    Responder,
    StatusSource,
    StatusTransport,
    SyncTransport,
    TopicHandler,
    Unsubscribe,
)

__all__ = [
    "AskTransport",
    "BeatHandler",
    "BeatMaker",
    "BeatTransport",
    "Capabilities",
    "Handler",
    "Interrupted",
    "LimitedTransport",
    "ProbeResponder",
    "Responder",
    "StatusSource",
    "StatusTransport",
    "SyncTransport",
    "TopicHandler",
    "Unsubscribe",
]
