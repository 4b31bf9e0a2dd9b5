"""Which steps of a recording `replay` shows, and what there is to say of them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from parasync import MsgpackCodec, Topic
from parasync.cli._steps import fact_of
from parasync.errors import RecordingError, UsageError
from parasync.protocol import Reader, parse_key
from parasync.runtime._replay import Replay, Step

Until: TypeAlias = Callable[[Step, float], bool]
"""Whether a step is beyond the end, for a recording that began at that moment."""


class Selection:
    """The steps that were asked for, in order; to be gone through once.

    Args:
        file: the recording.
        topic: whose gate reads values anew, if any.
        until: ends them before the first step of which it is true.
        find: the name and the text of a fact; ends them behind the first step that has it.
        key: shows the steps of this object only.
    """

    def __init__(
        self, file: Path, topic: Topic[Any] | None, until: Until | None, find: tuple[str, str] | None, key: str | None
    ) -> None:
        self._replay = Replay(file, None if topic is None else _reader_of(topic))
        self._anew = topic is not None
        self._until = until
        self._find = find
        self._key = key
        self._differing: list[Step] = []
        self._found = find is None
        self._places: set[int] = set()
        self.first: Step | None = None
        self.damage: RecordingError | None = None

    @property
    def begun_s(self) -> float:
        """When the recording begins."""
        return 0.0 if self.first is None else self.first.wall_s

    @property
    def alone(self) -> bool:
        """Whether the steps so far are those of one replica."""
        return len(self._places) <= 1

    @property
    def failed(self) -> bool:
        """Whether a step differs, unless it was read anew, or what was to be found was not."""
        return (bool(self._differing) and not self._anew) or not self._found

    def __iter__(self) -> Iterator[Step]:
        try:
            for step in self._replay:
                begun_s = step.wall_s if self.first is None else self.begun_s
                if self._until is not None and self._until(step, begun_s):
                    return
                if self._key is not None and step.key != self._key:
                    continue
                self.first = self.first or step
                self._places.add(step.place)
                if step.differs:
                    self._differing.append(step)
                yield step
                if self._find is not None and str(fact_of(step, self._find[0])).lower() == self._find[1]:
                    self._found = True
                    return
        except RecordingError as error:
            self.damage = error

    def notes(self) -> Iterator[str]:
        """What is to be said of the whole."""
        if self._differing:
            first = self._differing[0]
            more = f", and {len(self._differing) - 1:,} later" if len(self._differing) > 1 else ""
            yield f"step {first.number} differs from what was recorded in {', '.join(first.differs)}{more}"
        if not self._found and self._find is not None:
            yield f"no step leads to {self._find[0]}={self._find[1]}"
        if self._replay.cut_at is not None:
            yield f"the file ends in the record at byte {self._replay.cut_at}: its process was killed, or still writes"
        if self.first is None and self.damage is None:
            yield "no step to show"


def _reader_of(topic: Topic[Any]) -> Callable[[str, str], Reader[Any]]:
    """The gate of a topic, for its own objects only."""
    codec = MsgpackCodec()

    def reader_of(key: str, _schema_version: str) -> Reader[Any]:
        name = parse_key(key).topic
        if name != topic.name:
                raise UsageError(f"got the topic {topic.name!r}, expected {name!r}, of which {key!r} is")
        return topic.reader(codec)

    return reader_of
