"""How a responder is run, wherever the request came from: what it raises becomes a `Refusal` or a failure; nothing escapes."""

from __future__ import annotations

import asyncio
from typing import Final

import parasync.errors
from parasync.errors import ParasyncError, TransportError
from parasync.protocol import (
    REASON_CHARS_MAX,
    Answer,
    Digests,
    KeyPage,
    Probe,
    ProbeReply,
    Refusal,
    Request,
    Response,
    Scanned,
    Version,
    Written,
)
from parasync.transports._fanout import report
from parasync.transports._protocol import ProbeResponder, Responder

ANSWERS_MAX: Final = 1024
"""The most requests that one responder works on at a time; one more fails at once, and its asker tries again later."""

_RESPONSES: Final = (Answer, Digests, Scanned, KeyPage, Written, Refusal)


class Desk:
    """Where the requests of one topic are answered, all in one loop."""

    __slots__ = ("_busy", "_responder", "_topic")

    def __init__(self, topic: str, responder: Responder) -> None:
        self._topic = topic
        self._responder = responder
        self._busy = 0

    async def answer(self, request: Request) -> Response | TransportError:
        """What the responder says. Returns failures instead of raising them, also when it is cancelled."""
        if self._busy >= ANSWERS_MAX:
            return TransportError(f"the authority is busy with {ANSWERS_MAX} requests; ask again later")
        self._busy += 1
        try:
            response: object = await self._responder(request)
        except asyncio.CancelledError:
            return stopped()
        except ParasyncError as error:
            return refusal(error)
        except Exception as error:  # noqa: BLE001 -- a responder may raise anything, and its asker must hear something
            report("the responder of", self._topic, error)
            return TransportError(f"the authority failed with {type(error).__name__}; its log says where")
        finally:
            self._busy -= 1
        if isinstance(response, _RESPONSES):
            return response
        report("the responder of", self._topic, TypeError())
        return TransportError(f"the authority returned a {type(response).__name__}, expected a response of the protocol")


def stopped() -> TransportError:
    """What an asker hears when the task that answers was cancelled."""
    return TransportError("the authority stopped before it answered; ask again")


def replied(topic: str, responder: ProbeResponder, probe: Probe) -> ProbeReply | None:
    """What the responder says to the probe, None for nothing. Never raises."""
    try:
        return responder(probe)
    except Exception as error:  # noqa: BLE001 -- as above
        report("the probe responder of", topic, error)
        return None


def refusal(error: ParasyncError) -> Refusal:
    """The error as an answer: the name of its nearest class in `parasync.errors`, its text, and where the object is."""
    name = next(kind.__name__ for kind in type(error).__mro__ if getattr(parasync.errors, kind.__name__, None) is kind)
    current = getattr(error, "current", None)
    return Refusal(name, str(error)[:REASON_CHARS_MAX], current if isinstance(current, Version) else None)
