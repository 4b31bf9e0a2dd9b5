"""Probes and their replies as bytes."""

from __future__ import annotations

from typing import Any

from parasync.codec import Codec
from parasync.protocol import EPOCH_MAX, NAME_CHARS_MAX, Probe, ProbeReply, check_topic
from parasync.transports._wire_fields import WIRE_FORMAT, fields_of, flag, integer, read, text, written


def encode_probe(probe: Probe, codec: Codec) -> bytes:
    """The bytes of a probe.

    Raises:
        EncodeError: a field is out of range.
    """
    return written(lambda: [WIRE_FORMAT, probe.topic, probe.epoch, probe.serving, probe.sender], _probe, codec)


def decode_probe(data: bytes, codec: Codec) -> Probe:
    """The probe that came in.

    Raises:
        DecodeError: it is none.
    """
    return read(data, _probe, codec)


def encode_probe_reply(reply: ProbeReply, codec: Codec) -> bytes:
    """The bytes of a reply to a probe.

    Raises:
        EncodeError: a field is out of range.
    """
    return written(lambda: [WIRE_FORMAT, reply.epoch, reply.serving], _probe_reply, codec)


def decode_probe_reply(data: bytes, codec: Codec) -> ProbeReply:
    """The reply to a probe.

    Raises:
        DecodeError: it is none.
    """
    return read(data, _probe_reply, codec)


def _probe(fields: Any) -> Probe:
    topic, epoch, serving, sender = fields_of(fields, 4)
    check_topic(topic)
    return Probe(topic, integer(epoch, EPOCH_MAX), flag(serving), text(sender, NAME_CHARS_MAX))


def _probe_reply(fields: Any) -> ProbeReply:
    epoch, serving = fields_of(fields, 2)
    return ProbeReply(integer(epoch, EPOCH_MAX), flag(serving))
