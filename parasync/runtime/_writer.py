"""Writes what was noted of replicas to the parts of a recording, a note at a time, and never raises into a replica."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from itertools import count
from pathlib import Path
from typing import Any, Final

from parasync.codec import Codec
from parasync.errors import EncodeError
from parasync.gate import encode_any
from parasync.protocol import EncodedBody, Envelope, Kind
from parasync.runtime._parts import Parts
from parasync.runtime._recorded import Note, Recorded, Tape
from parasync.runtime._records import Record, State, framed, listed
from parasync.runtime._world import Clock, wall_s

NOTES_PENDING_MAX: Final = 10_000
"""How many inputs wait for a disk that is slow; those beyond are not recorded, and the recording says how many they were."""

logger: Final = logging.getLogger("parasync")


class Writer:
    """What stands behind a `Recorder`. From any thread.

    Args:
        path: of the newest part.
        bytes_max: how long both parts become together.
        values: whether values are recorded.

    Raises:
        UsageError: a file is there that is no recording.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, bytes_max: int, *, values: bool) -> None:
        self.problem = ""
        """Why nothing is recorded any more."""
        self._path = path
        self._values = values
        self._record_bytes_max = bytes_max // 4
        self._notes: deque[Note] = deque()
        self._writing = threading.Lock()
        self._places = count()
        self._step = 0
        self._closing = False
        self._process = os.getpid()
        self._stands: dict[int, State] = {}
        """For each replica, where the last record of it in this part leaves it."""
        self._held: dict[int, tuple[object, Record]] = {}
        """For each replica, the version that it holds, and what is recorded of its value."""
        self._parts = Parts(path, bytes_max // 2, int(wall_s() * 1e6))

    def close(self) -> None:
        """Write what was noted, and nothing more; may be called again."""
        self._closing = True
        self.write()

    def tape(self, schema_version: str, codec: Codec, clock: Clock) -> Tape:
        """What one more replica needs to be recorded here."""
        return Tape(next(self._places), schema_version, codec, clock, self._note, self.write)

    def write(self) -> None:
        """Write what was noted, unless another thread is at it: that one will. Without any lock."""
        if os.getpid() != self._process:
            # Both would write to one place of one file. Not even the lock is as it should be here.
            self.problem = "a recording goes on in the process that began it, and not in one that was forked from that"
            self._notes.clear()
        while (self._notes or self._closing) and not self.problem and self._writing.acquire(blocking=False):
            try:
                while self._notes:
                    self._write_note(self._notes.popleft())
                if self._closing:
                    self._end("the recorder was closed")
            except Exception as error:  # noqa: BLE001  # no replica may suffer from being recorded
                reason = getattr(error, "strerror", None) or type(error).__name__
                self._end(f"{self._path} could not be written ({reason}): the recording has ended")
                with contextlib.suppress(Exception):
                    logger.error("%s", self.problem)  # noqa: TRY400  # the text says what there is to say
            finally:
                self._writing.release()

    def _note(self, note: Note) -> bool:
        kept = not self.problem and not self._closing and len(self._notes) < NOTES_PENDING_MAX
        if kept:
            self._notes.append(note)
        return kept

    def _write_note(self, note: Note) -> None:
        place = note.member.tape.place
        self._step += 1 + note.lost
        body = self._body_of(note.envelope, note.member)
        try:
            # What is too long goes without its value; what cannot be encoded even so is missing.
            step = self._framed(note, body) or self._framed(note, None)
            lead = b"" if self._stands.get(place) is note.before else self._standing(note)
            if step is None:
                raise EncodeError("got an input that cannot be recorded")
            if not self._parts.has_room(len(lead) + len(step)):
                self._parts.begin(self._step - 1)
                self._stands.clear()
                lead = self._standing(note)
        except EncodeError:
            self._stands.pop(place, None)
            return
        self._parts.append(lead + step)
        self._stands[place] = note.after
        held = note.after[-2]
        if note.envelope is not None and held is not None and held[:2] == note.envelope.version:
            self._held[place] = held, [body, dict(note.envelope.meta)]
        if note.kind == "closed":
            del self._stands[place]
            self._held.pop(place, None)

    def _standing(self, note: Note) -> bytes:
        """Where a replica stood before its step."""
        member = note.member
        held, known = self._held.get(member.tape.place, (None, None))
        facts = (
            member.key, member.tape.schema_version, member.lossless, member.askable, member.gap, float(member.stale_unheard_s),
            member.stale_by_beats,
        )  # fmt: skip
        known = None if held is None or held != note.before[-2] else known
        return framed(["replica", member.tape.place, *facts, float(note.at_s), wall_s(), listed(note.before), known])

    def _framed(self, note: Note, body: bytes | None) -> bytes | None:
        facts = note.facts_record(body)
        record = [note.member.tape.place, float(note.at_s), note.kind, facts, note.status, listed(note.after)]
        try:
            made = framed(["step", self._step, *record])
        except EncodeError:
            return None
        return None if len(made) > self._record_bytes_max else made

    def _body_of(self, envelope: Envelope[Any] | None, member: Recorded[Any]) -> bytes | None:
        if envelope is None or envelope.kind is Kind.TOMBSTONE or not self._values:
            return None
        if envelope.body is not None or isinstance(envelope.value, EncodedBody):
            return bytes(envelope.value if envelope.body is None else envelope.body)
        try:
            return bytes(encode_any(envelope.value, member.tape.codec))
        except EncodeError:
            return None

    def _end(self, problem: str) -> None:
        self.problem = problem
        self._notes.clear()
        with contextlib.suppress(OSError):
            self._parts.close()
