"""Inputs that are taken again: with what the gate said then, or with what a gate says now."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport, Recorder, Topic, synced
from parasync.errors import ParasyncError, RecordingError
from parasync.protocol import ABSENT_OBJECT, SAME, UNANSWERED, Outcome
from parasync.runtime._records import MAGIC, framed, read_file
from parasync.runtime._replay import Replay
from parasync.testing import FaultyTransport
from parasync.testing.machines import LossyBus
from tests.runtime.kit import KEY, A, Author, envelope, pace, tombstone
from tests.runtime.recordings import assert_replays, replayed
from tests.virtual_time import in_virtual_time, passing


def test_a_gate_can_read_again(tmp_path: Path) -> None:
    """What the type of then refused, that of now may take, and the other way round."""
    path, bus = tmp_path / "a.rec", LossyBus()
    texts, numbers = Topic("note", str), Topic("note", int, version="1.1")
    with Recorder(path) as recorder, synced(texts["a"], bus, recorder=recorder) as replica:
        for sequence, value in enumerate(("a", 5, "b", 6), 1):
            bus.publish(KEY, envelope(sequence, value))
        bus.publish(KEY, envelope(4, 6))
        bus.publish(KEY, tombstone(5))
        assert replica.stats.parse_errors == 2
    assert [step.told for step in replayed(path) if step.kind == "live"] == ["good", "parse", "good", "parse", "parse", "good"]
    anew = list(Replay(path, lambda _key, _schema: numbers.reader(bus.codec)))
    assert [step.told for step in anew if step.kind == "live"] == ["parse", "good", "parse", "good", "unread", "good"]
    assert [step.change.version.sequence for step in anew if step.change is not None] == [2, 4, 5]
    assert [step.kind for step in anew if not step.differs] == ["begin", "noticed"]
    assert anew[-1].state["parse_errors"] == 2


def test_a_seed_that_the_gate_refuses_now_is_not_shown(tmp_path: Path) -> None:
    path, bus = tmp_path / "a.rec", InProcessTransport()
    with Recorder(path) as recorder, synced(A, bus, seed=envelope(1), recorder=recorder):
        bus.publish(KEY, envelope(2))
    reader: Any = Topic("note", int).reader(bus.codec)
    anew = list(Replay(path, lambda *_: reader))
    assert [(step.kind, step.told) for step in anew if step.told] == [("seed", "parse"), ("live", "parse")]
    assert {step.held for step in anew} == {None}


@pytest.mark.parametrize("said", ["unread", "other", ["parse", "no"]])
def test_what_no_gate_let_pass_is_no_seed(tmp_path: Path, said: object) -> None:
    path, bus = tmp_path / "a.rec", InProcessTransport()
    with Recorder(path) as recorder, synced(A, bus, seed=envelope(1), recorder=recorder):
        pass
    records = [record for _, record in read_file(path)]
    next(record for record in records if record[0] == "step" and record[4] == "seed")[5][1] = said
    path.write_bytes(MAGIC + b"".join(map(framed, records)))
    with pytest.raises(RecordingError, match="cannot be replayed"):
        replayed(path)


def test_where_values_were_not_recorded_the_gate_of_then_is_believed(tmp_path: Path) -> None:
    path, bus = tmp_path / "a.rec", InProcessTransport()
    with Recorder(path, values=False) as recorder, synced(A, bus, recorder=recorder):
        bus.publish(KEY, envelope(1))
        bus.publish(KEY, Envelope(5, "1.0", 2))
    reader: Any = Topic("note", int).reader(bus.codec)
    assert list(Replay(path, lambda *_: reader)) == replayed(path)


@in_virtual_time
async def test_all_that_an_answer_may_say(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    outcomes: list[Outcome] = [envelope(3), SAME, UNANSWERED, ABSENT_OBJECT, envelope(5, schema_version="2.0"), envelope(6, 5)]
    async with InProcessTransport() as bus, FaultyTransport(bus) as ears:
        author = Author(bus)
        author.outcome = lambda _key: outcomes.pop(0) if outcomes else SAME
        with Recorder(path) as recorder:
            async with synced(A, ears, pace=pace(), recorder=recorder) as replica:
                for _ in range(12):
                    await passing(5.0)
                    with contextlib.suppress(ParasyncError):
                        await replica.fresh(timeout_s=1.0)
                steps = assert_replays(path, replica)
        author.stop()
    said = [step for step in steps if step.kind == "answer"]
    assert {type(step.outcome) for step in said} == {Envelope, type(SAME), type(UNANSWERED)}
    assert {step.told for step in said} >= {"", "good", "skew", "parse"}
