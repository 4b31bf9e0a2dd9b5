"""Who is there: every process answers onlookers on one subject of the bus, at a bounded rate and in a bounded size."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import attrs

from parasync.codec import Codec
from parasync.errors import ClosedError, DecodeError, EncodeError
from parasync.protocol import STATUS_ROWS_MAX, AuthorityStatus, ProcessStatus, ReplicaStatus, StatusQuery
from parasync.transports._fanout import report
from parasync.transports._identity import identity
from parasync.transports._nats_asks import NatsAsks
from parasync.transports._nats_diagnosis import Denial
from parasync.transports._nats_lines import Line
from parasync.transports._nats_service import is_inbox
from parasync.transports._nats_wire import Wire
from parasync.transports._protocol import StatusSource, Unsubscribe
from parasync.transports._seal import sealed, unsealed
from parasync.transports._subjects import SubjectMap, check_subject
from parasync.transports._wire_status import decode_query, decode_status, encode_query, encode_status

STATUS_PER_S_MAX: Final = 10
"""How many questions about its status a process answers in a second; more are ignored."""
SURVEYED_MAX: Final = 10_000
"""The most processes whose answers an onlooker keeps; more are ignored."""
QUIET_S: Final = 0.3
"""How long nobody must have answered for the answers to be taken as complete, in seconds."""

_log: Final = logging.getLogger("parasync")


@attrs.frozen
class Heard:
    """What one process said, and how far its clock is from ours.

    Args:
        status: what it said.
        ahead_s: by how many seconds its clock is ahead at the least; below 0 behind, and 0 where none can tell.
    """

    status: ProcessStatus
    ahead_s: float


class NatsStatus:
    """The answering and the asking side of a connection. Used in one loop only.

    Args:
        wire: what carries questions and answers.
        asks: asks them.
        subjects: on which subject.
        codec: how they are encoded.
    """

    def __init__(self, wire: Wire, asks: NatsAsks, subjects: SubjectMap, codec: Codec) -> None:
        self._wire = wire
        self._asks = asks
        self._subjects = subjects
        self._codec = codec
        self._sources: dict[object, StatusSource] = {}
        self._line: Line | None = None
        self._answered = (0, 0)

    def answer(self, source: StatusSource, spawn: Callable[[Coroutine[Any, Any, None], str], object]) -> Unsubscribe:
        """See `NatsTransport.answer_status`."""
        place = object()
        self._sources[place] = source
        if self._line is None:
            self._line = self._wire.open(check_subject(self._subjects.of_status()), partial(self._received, spawn))
        return lambda: self._end(place)

    def _end(self, place: object) -> None:
        self._sources.pop(place, None)
        if not self._sources and self._line is not None:
            self._wire.shut(self._line)
            self._line = None

    def denied(self, denial: Denial) -> bool:
        """Whether this is about answering onlookers, which a process may be kept from without missing anything."""
        mine = self._line is not None and not denial.publishing and denial.subject == self._line.subject.lower()
        if mine:
            _log.info("this process will not be seen by onlookers: %s", denial)
        return mine

    async def survey(self, query: StatusQuery, timeout_s: float) -> list[Heard]:
        """See `NatsTransport.survey`."""
        subject = check_subject(self._subjects.of_status())
        data = sealed(encode_query(query, self._codec), subject.encode())
        heard: list[Heard] = []
        sent_s = time.time()

        def arrived(answer: bytes) -> None:
            with contextlib.suppress(DecodeError):
                status = decode_status(unsealed(answer, data), self._codec)
                if len(heard) < SURVEYED_MAX:
                    heard.append(Heard(status, _ahead_s(status.wall_s, sent_s, time.time())))

        await self._asks.gather(subject, data, arrived, timeout_s, quiet_s=QUIET_S, spread_s=query.spread_s)
        return heard

    def _received(
        self,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        subject: bytes,
        reply: bytes,
        data: bytes,
        _headers: bytes | None,
    ) -> None:
        second = int(time.monotonic())
        count = self._answered[1] if self._answered[0] == second else 0
        if count >= STATUS_PER_S_MAX or not is_inbox(reply, self._subjects):
            return
        self._answered = (second, count + 1)
        with contextlib.suppress(DecodeError, ClosedError):
            query = decode_query(unsealed(data, subject), self._codec)
            spawn(self._answer(query, reply, data), "tell an onlooker")

    async def _answer(self, query: StatusQuery, reply: bytes, asked: bytes) -> None:
        if query.spread_s:
            await asyncio.sleep(random.random() * query.spread_s)  # noqa: S311 -- that not all answer at once
        authorities: list[AuthorityStatus] = []
        replicas: list[ReplicaStatus] = []
        for source in list(self._sources.values()):
            try:
                for row in source():
                    if row is None:
                        await asyncio.sleep(0)
                    elif not query.topics or row.topic in query.topics:
                        (authorities if isinstance(row, AuthorityStatus) else replicas).append(row)  # type: ignore[arg-type]
            except Exception as error:  # noqa: BLE001 -- a source is somebody else's, and the others are to be told of
                report("the status of", str(self._subjects.of_status()), error)
        if authorities or replicas:
            self._send(authorities, replicas, reply, asked)

    def _send(
        self, authorities: list[AuthorityStatus], replicas: list[ReplicaStatus], reply: bytes, asked: bytes
    ) -> None:
        """Send as many as fit; authorities first, since each speaks for many."""
        room = STATUS_ROWS_MAX
        link = self._wire.link
        while room and link is not None:
            told = authorities[:room], replicas[: max(0, room - len(authorities))]
            left_out = len(authorities) + len(replicas) - len(told[0]) - len(told[1])
            status = ProcessStatus(identity(), time.time(), tuple(told[0]), tuple(told[1]), left_out)
            try:
                data = sealed(encode_status(status, self._codec), asked)
            except EncodeError as error:
                report("the status of", str(self._subjects.of_status()), error)
                return
            if len(data) <= link.payload_bytes_max:
                self._wire.publish(reply, data)
                return
            room = min(room, len(authorities) + len(replicas)) // 2


def _ahead_s(wall_s: float, sent_s: float, received_s: float) -> float:
    """By how much a clock is ahead that was read between the two moments."""
    return min(0.0, wall_s - sent_s) or max(0.0, wall_s - received_s)
