"""What a server sends, cut into messages: straight to the sink of each, faster than by the client's own parser.

Only messages are read here. Every other line (PING, PONG, INFO, -ERR, +OK) is rare, and goes to the client as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from parasync.transports._fanout import report

Sink: TypeAlias = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Gets subject, reply, data and raw headers of each message of one subscription, in the read loop. Must not raise."""

CONTROL_LINE_BYTES_MAX: Final = 1024 * 1024
"""The longest line that a server may send beside payloads; a longer one ends the connection. INFO lists a whole cluster."""

_MSG: Final = b"MSG "
_HMSG: Final = b"HMSG "
# Not any white space: some of it is legal in a subject.
_SPACE: Final = b" "
_END: Final = b"\r\n"


class MessageParser(Parser):
    """Takes the place of the client's parser. Raises `ProtocolError` for what no server sends, which ends the connection.

    Args:
        sinks: by the number of their subscription.
        client: takes all lines that are no messages.
    """

    def __init__(self, sinks: dict[int, Sink], client: Any) -> None:
        self._sinks = sinks
        # What came of a message that is not complete yet, how much that is, and how much has to be there before it is worth
        # another look: a large message would otherwise be copied again with every part of it that arrives.
        self._parts: list[bytes] = []
        self._bytes = 0
        self._needed = 0
        super().__init__(client)

    def reset(self) -> None:
        """Forget what came, since the rest of it will not."""
        super().reset()
        self._keep(b"", 0)

    async def parse(self, data: bytes = b"") -> None:
        """Hand over each message that is complete, in order."""
        if self._parts:
            self._parts.append(data)
            self._bytes += len(data)
            if self._bytes < self._needed:
                return
            data = b"".join(self._parts)
            self._parts = []
        sinks, size = self._sinks, len(data)
        position = needed = 0
        while position < size:
            end = data.find(_END, position)
            if end < 0:
                needed = size - position + 1
                if needed > CONTROL_LINE_BYTES_MAX:
                    raise ProtocolError
                break
            if data.startswith(_MSG, position):
                fields = data[position + 4 : end].split(_SPACE)
                headed = 0
            elif data.startswith(_HMSG, position):
                fields = data[position + 5 : end].split(_SPACE)
                headed = _number(fields.pop(-2)) if len(fields) > 3 else -1
            else:
                position, line = end + 2, data[position : end + 2]
                try:
                    await super().parse(line)
                except ValueError:
                    raise ProtocolError from None
                if self.buf or self.state != AWAITING_CONTROL_LINE:
                    raise ProtocolError
                continue
            start = end + 2
            try:
                sink, stop = sinks.get(int(fields[1])), start + int(fields[-1])
            except (IndexError, ValueError):
                raise ProtocolError from None
            if not 3 <= len(fields) <= 4 or not start <= start + headed <= stop:
                raise ProtocolError
            if size < stop + 2:
                needed = stop + 2 - position
                break
            position = stop + 2
            if sink is not None:
                reply = fields[2] if len(fields) > 3 else b""
                try:
                    if headed:
                        sink(fields[0], reply, data[start + headed : stop], data[start : start + headed])
                    else:
                        sink(fields[0], reply, data[start:stop], None)
                except Exception as error:  # noqa: BLE001 -- a sink raises nothing, but if one did, the read loop would end
                    report("the sink of", fields[0].decode("utf-8", "replace"), error)
        self._keep(data[position:], needed)

    def _keep(self, rest: bytes, needed: int) -> None:
        self._parts = [rest] if rest else []
        self._bytes = len(rest)
        self._needed = needed


def _number(field: bytes) -> int:
    return int(field) if field.isdigit() else -1
