"""The codec of parasync: msgpack, strict, and limited in every dimension."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from msgpack import ExtType, unpackb

from parasync.codec._fast import FastType, fast_fields, fast_type, is_available
from parasync.codec._frame import META_BYTES_MAX, META_ENTRIES_MAX, read_frame, write_frame
from parasync.codec._limits import check_limits
from parasync.codec._packing import packing
from parasync.codec._tags import NESTED, tagged, untagged
from parasync.errors import DecodeError, EncodeError, UsageError
from parasync.gate import VALUE_DEPTH_MAX, encode_any
from parasync.gate._crowd import SHARED_HASH_MAX, spread_dict
from parasync.protocol import EPOCH_BITS, STATE, EncodedBody, Envelope

T = TypeVar("T")

FRAME_BYTES_MAX: Final = 1_000_000
"""The longest frame, and the longest message: below the 1 MiB that a NATS server takes by default."""
FRAME_OVERHEAD_BYTES_MAX: Final = 4_096 + META_BYTES_MAX + 6 * META_ENTRIES_MAX
"""What a body needs around it at most, so that every legal body fits into a frame, and its frame into an answer."""
DEPTH_MAX: Final = 32
"""The most containers inside each other; deeper values are refused by writer and reader."""
ELEMENTS_MAX: Final = 100_000
"""The most values in one body or message, those in containers included; more are refused by writer and reader."""
EPOCH_AHEAD_MAX_S: Final = 86_400
"""How far ahead of the wall clock, in seconds, an epoch may have begun; a frame from further ahead is malformed."""
FRAME_BYTES_MIN: Final = 18
"""The shortest frame: a tombstone with small numbers."""

_EXTENSIONS: Final = bytes([0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8])
_TAGS_BYTES: Final = 3 * SHARED_HASH_MAX


class MsgpackCodec:
    """Encodes in msgpack, exactly and within limits. Immutable; use one from any number of threads.

    Args:
        frame_bytes_max: the longest frame and the longest message, in bytes.
        body_bytes_max: the longest body in bytes; by default, and at most, what leaves room in a frame for all else.
        depth_max: the most containers inside each other, 1 to `VALUE_DEPTH_MAX`.
        elements_max: the most values in one body or message.
        fast: whether msgspec encodes and decodes the types that it treats exactly as the gate does, to the same bytes; None:
            if it is installed.
        wall_clock: seconds since 1970.

    Raises:
        UsageError: limits that contradict each other, or `fast=True` without msgspec.
    """

    __slots__ = (
        "__weakref__", "_begun", "_fast", "_fields", "_frame_bytes_max", "_wall_clock", "body_bytes_max", "depth_max",
        "elements_max",
    )  # fmt: skip

    def __init__(
        self,
        *,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        body_bytes_max: int | None = None,
        depth_max: int = DEPTH_MAX,
        elements_max: int = ELEMENTS_MAX,
        fast: bool | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        room = frame_bytes_max - FRAME_OVERHEAD_BYTES_MAX
        body_bytes_max = room if body_bytes_max is None else body_bytes_max
        if not 0 < body_bytes_max <= room:
            raise UsageError(
                f"got bodies of {body_bytes_max} bytes in frames of {frame_bytes_max}, "
                f"expected at least 1 byte, and frames that are {FRAME_OVERHEAD_BYTES_MAX} bytes longer"
            )
        if not 1 <= depth_max <= VALUE_DEPTH_MAX or elements_max < 1:
            raise UsageError(f"got limits out of range, expected depth_max from 1 to {VALUE_DEPTH_MAX}, elements_max from 1")
        if fast and not is_available():
            raise UsageError("got fast=True without msgspec, expected it to be installed: pip install 'parasync[fast]'")
        self._frame_bytes_max: Final = frame_bytes_max
        self.body_bytes_max: Final = body_bytes_max
        self.depth_max: Final = depth_max
        self.elements_max: Final = elements_max
        self._fast: Final = is_available() if fast is None else fast
        self._fields: Final = fast_fields() if self._fast else None
        self._wall_clock: Final = wall_clock
        self._begun = 0

    @property
    def frame_bytes_max(self) -> int:
        """The longest frame, and the longest message, in bytes."""
        return self._frame_bytes_max

    def encode_body(self, plain: object) -> EncodedBody:
        """See `Codec.encode_body`."""
        return EncodedBody(self._encoded(plain, self.body_bytes_max))

    def decode_body(self, body: bytes) -> Any:
        """See `Codec.decode_body`."""
        return _decoded(body, self.body_bytes_max, self.depth_max, self.elements_max)

    def encode_message(self, plain: object) -> bytes:
        """See `Codec.encode_message`."""
        return self._encoded(plain, self._frame_bytes_max)

    def decode_message(self, data: bytes) -> Any:
        """See `Codec.decode_message`."""
        return _decoded(data, self._frame_bytes_max, self.depth_max, self.elements_max)

    def encode_frame(self, key: str, envelope: Envelope[Any]) -> bytes:
        """See `Codec.encode_frame`. A value that is not encoded yet is encoded by the gate of its class, or as plain data."""
        body: bytes
        state = envelope.kind is STATE
        if not state:
            if envelope.value is not None:
                raise EncodeError(f"got a tombstone with a {type(envelope.value).__name__} as value, expected None")
            body = b""
        elif envelope.body is not None:
            body = envelope.body
        elif isinstance(envelope.value, EncodedBody):
            body = envelope.value
        else:
            body = encode_any(envelope.value, self)
        if len(body) > self.body_bytes_max or (state and not body):
            raise EncodeError(f"got a body of {len(body)} bytes, expected 1 to {self.body_bytes_max}")
        return write_frame(key, envelope, body)

    def decode_frame(self, key: str, frame: bytes) -> Envelope[EncodedBody | None]:
        """See `Codec.decode_frame`."""
        if not FRAME_BYTES_MIN <= len(frame) <= self._frame_bytes_max:
            raise DecodeError(f"got a frame of {len(frame)} bytes, expected {FRAME_BYTES_MIN} to {self._frame_bytes_max}")
        try:
            envelope = read_frame(key, frame, self._fields)
        except Exception:  # noqa: BLE001  # whatever it is, `_opened` raises the right error, which knows nothing of this one
            envelope = None
        if envelope is None:
            envelope = _opened(key, frame)
        if len(frame) > self.body_bytes_max and len(envelope.value or b"") > self.body_bytes_max:
            raise DecodeError(f"got a frame whose body is too long, expected at most {self.body_bytes_max} bytes")
        # An epoch that was begun stays begun, so the clock is read once for each.
        if envelope.epoch != self._begun:
            if envelope.epoch >> EPOCH_BITS > self._wall_clock() + EPOCH_AHEAD_MAX_S:
                raise DecodeError("got a frame from an epoch that begins more than a day ahead; check the clocks")
            self._begun = envelope.epoch
        return envelope

    def typed_encoder(self, type_: type[T]) -> Callable[[T], EncodedBody | None] | None:
        """See `Codec.typed_encoder`."""
        machine = self._machine(type_)
        if machine is None:
            return None
        pack, sure_bytes_max = machine.encode, min(machine.sure_bytes_max, self.elements_max, self.body_bytes_max)

        def encode(value: T) -> EncodedBody | None:
            try:
                data = pack(value)
            except Exception:  # noqa: BLE001  # the slow way raises the right error
                return None
            return EncodedBody(data) if len(data) <= sure_bytes_max else None

        return encode

    def typed_decoder(self, type_: type[T]) -> Callable[[bytes], T | None] | None:
        """See `Codec.typed_decoder`."""
        machine = self._machine(type_)
        if machine is None:
            return None
        pack, unpack = machine.encode, machine.decode
        sure_bytes_max = min(machine.sure_bytes_max, self.elements_max, self.body_bytes_max)

        def decode(body: bytes) -> T | None:
            if len(body) > sure_bytes_max:
                return None
            try:
                value: T = unpack(body)
                # What encodes to the same bytes again held nothing else: no unknown or repeated fields, no other form of a
                # value. So what this way accepts, the slow way would accept with the same result.
                return value if pack(value) == body else None
            except Exception:  # noqa: BLE001  # the slow way raises the right error
                return None

        return decode

    def _machine(self, type_: Any) -> FastType | None:
        machine = fast_type(type_) if self._fast else None
        return None if machine is None or machine.depth > self.depth_max else machine

    def _encoded(self, plain: object, bytes_max: int) -> bytes:
        reason = ""
        try:
            data = _pack(plain)
            if len(data) <= bytes_max:
                check_limits(data, self.depth_max, self.elements_max, NESTED)
                return data
            reason = f"got a value of {len(data)} bytes, expected at most {bytes_max}"
        except (EncodeError, DecodeError) as error:
            reason = str(error)
        except UnicodeEncodeError:
            reason = "got a text with a lone surrogate, expected text that UTF-8 can encode"
        except Exception as error:  # noqa: BLE001  # values can be of any class, and raise anything
            # msgpack says it with a ValueError.
            deep = isinstance(error, RecursionError) or "recursion" in str(error)
            reason = f"is nested more than {self.depth_max} deep" if deep else f"cannot be encoded ({type(error).__name__})"
            reason = f"got a value that {reason}"
        raise EncodeError(reason)

    def __repr__(self) -> str:
        return f"MsgpackCodec(frame_bytes_max={self.frame_bytes_max}, body_bytes_max={self.body_bytes_max}, fast={self._fast})"


def _opened(key: str, frame: bytes) -> Envelope[EncodedBody | None]:
    try:
        return read_frame(key, frame, None)
    except DecodeError:
        raise
    except Exception:  # noqa: BLE001, S110  # whatever a decoder raises on hostile bytes, they are malformed
        pass
    raise DecodeError("got a malformed frame")


def _decoded(data: bytes, bytes_max: int, depth_max: int, elements_max: int) -> Any:
    if not 0 < len(data) <= bytes_max:
        raise DecodeError(f"got {len(data)} bytes, expected 1 to {bytes_max}")
    try:
        check_limits(data, depth_max, elements_max, NESTED)
        return _unpack(data)
    except DecodeError:
        raise
    except Exception:  # noqa: BLE001, S110  # whatever a decoder raises on hostile bytes, they are malformed
        pass
    raise DecodeError("got malformed data, expected one msgpack value")


def _tag(value: object) -> ExtType:
    return tagged(value, _pack)


_pack: Final = packing(default=_tag, strict_types=True)


def _unpack(data: bytes) -> Any:
    if len(data) > _TAGS_BYTES and len(data) - len(data.translate(None, _EXTENSIONS)) > SHARED_HASH_MAX:
        # There may be many tagged keys, and only those can have been chosen to share one hash.
        return unpackb(data, ext_hook=_untag, object_pairs_hook=spread_dict, strict_map_key=False, timestamp=3)
    return unpackb(data, ext_hook=_untag, strict_map_key=False, timestamp=3)


def _untag(code: int, payload: bytes) -> object:
    return untagged(code, payload, _unpack)
