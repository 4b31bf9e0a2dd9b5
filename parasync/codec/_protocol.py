"""What a codec promises to transports, stores and gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from parasync.protocol import EncodedBody, Envelope

T = TypeVar("T")


class Codec(Protocol):
    """Turns values into bytes and back, exactly, within limits. All methods may be called from any thread."""

    @property
    def frame_bytes_max(self) -> int:
        """The longest frame, and the longest message, in bytes."""

    def encode_body(self, plain: object) -> EncodedBody:
        """Encode plain data, and values that come back exactly without a declared type (dates, tuples, sets, ...).

        Args:
            plain: what a gate has made of a value.

        Raises:
            EncodeError: an unsupported type, too deep, too many elements, too large.
        """

    def decode_body(self, body: bytes) -> Any:
        """Decode what `encode_body` made.

        Args:
            body: from a bus or a store: anything may be in it.

        Raises:
            DecodeError: malformed, truncated, or over a limit.
        """

    def encode_frame(self, key: str, envelope: Envelope[Any]) -> bytes:
        """Encode an envelope of a key for a bus: its `body`, or its value if that is encoded, or else the encoded value.

        Args:
            key: of the object; the checksum covers it.
            envelope: one version of the object.

        Raises:
            EncodeError: a field is out of range, or the value cannot be encoded.
        """

    def decode_frame(self, key: str, frame: bytes) -> Envelope[EncodedBody | None]:
        """Decode a frame of a key: the header is checked, the body is passed on unread, the checksum is set.

        Args:
            key: for which the frame came.
            frame: from a bus: anything may be in it.

        Raises:
            DecodeError: malformed, corrupt, of another key, over a limit, or from an epoch more than a day ahead.
        """

    def encode_message(self, plain: object) -> bytes:
        """Encode a message between transports: like a body, up to the size of a frame.

        Args:
            plain: built-in values.

        Raises:
            EncodeError: an unsupported type, too deep, too many elements, too large.
        """

    def decode_message(self, data: bytes) -> Any:
        """Decode what `encode_message` made.

        Args:
            data: from a bus: anything may be in it.

        Raises:
            DecodeError: malformed, truncated, or over a limit.
        """

    def typed_encoder(self, type_: type[T]) -> Callable[[T], EncodedBody | None] | None:
        """A faster way from true instances of a type to the same bytes; None if there is none.

        The function is called with checked instances only, and returns None for every one of which it is not sure; that one
        takes the way of a gate and `encode_body`.

        Args:
            type_: the type of a topic.
        """

    def typed_decoder(self, type_: type[T]) -> Callable[[bytes], T | None] | None:
        """A faster way from bodies to true instances of a type; None if there is none.

        The function returns None for every body of which it is not sure; that one takes the way of `decode_body` and a gate,
        and nothing else tells the two apart.

        Args:
            type_: the type of a topic.
        """
