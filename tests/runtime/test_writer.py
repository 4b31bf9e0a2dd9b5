"""What is written of a replica, and what happens where that cannot be."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parasync import Envelope, InProcessTransport, Recorder, synced
from parasync.protocol import EncodedBody
from parasync.runtime import _writer
from parasync.runtime._recorder import RECORDING_BYTES_MIN
from tests.runtime.kit import KEY, A, envelope
from tests.runtime.recordings import JOINED, SEEDED, assert_replays, filled, kinds, replayed

ROOT = Path(__file__).parents[2]


def test_values_may_be_left_out(tmp_path: Path) -> None:
    filled(tmp_path / "a.rec", 3, text="secret", values=False)
    assert b"secret" not in (tmp_path / "a.rec").read_bytes()
    steps = replayed(tmp_path / "a.rec")
    assert not any(step.differs for step in steps)
    assert steps[-1].held is not None
    assert steps[-1].held.body is None


def test_a_value_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    filled(path, 2, text="x" * RECORDING_BYTES_MIN, bytes_max=RECORDING_BYTES_MIN)
    steps = replayed(path)
    assert kinds(steps) == [*SEEDED, "live", "live"]
    assert path.stat().st_size < RECORDING_BYTES_MIN // 2
    assert not any(step.differs for step in steps)


def test_what_cannot_be_encoded_is_missing_and_the_next_step_says_so(tmp_path: Path) -> None:
    path, bus = tmp_path / "a.rec", InProcessTransport()
    with Recorder(path) as recorder, synced(A, bus, recorder=recorder) as replica:
        bus.publish(KEY, envelope(1))
        bus.publish(KEY, Envelope("2", "1.0", 2, meta={"a": object()}))  # type: ignore[dict-item]
        bus.publish(KEY, Envelope("3", "1.0", 3, checksum=object()))  # type: ignore[arg-type]
        bus.publish(KEY, envelope(4))
        bus.publish(KEY, envelope(5))
        steps = assert_replays(path, replica)
    # What follows cannot say either where it began.
    assert [step.missing for step in steps] == [0, 0, 0, 0, 0, 3, 0]
    assert kinds(steps) == [*JOINED, "live", "begin", "live"]


def test_a_disk_that_is_slow_costs_steps_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else is writing, and does not come to an end."""
    monkeypatch.setattr(_writer, "NOTES_PENDING_MAX", 10)
    path, bus = tmp_path / "a.rec", InProcessTransport()
    with Recorder(path) as recorder, synced(A, bus, recorder=recorder) as replica:
        with recorder.writer._writing:
            for sequence in range(1, 100):
                bus.publish(KEY, envelope(sequence))
            assert replica.value == "0.99"
        bus.publish(KEY, envelope(100))
        bus.publish(KEY, envelope(101))
        steps = assert_replays(path, replica)
        assert sum(step.missing for step in steps) + len([step for step in steps if step.kind != "begin"]) == steps[-1].number
        assert sum(step.missing for step in steps) > 80


@pytest.mark.processes
def test_a_full_disk_ends_the_recording_and_harms_nobody(tmp_path: Path) -> None:
    code = """
import resource, sys
from parasync import Envelope, InProcessTransport, Recorder, Topic, synced
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
bus, notes = InProcessTransport(), Topic("note", str)
with Recorder("a.rec") as recorder, synced(notes["a"], bus, recorder=recorder) as replica:
    for sequence in range(1, 1_000):
        bus.publish("note:a", Envelope("x", "1.0", sequence))
    print(replica.version, replica.stats.applied, replica.stats.handler_errors, "|", recorder.problem)
"""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
    problem = "a.rec could not be written (File too large): the recording has ended"
    assert done.stdout == f"0.999 999 0 | {problem}\n"
    assert done.stderr == f"{problem}\n", "said once"
    steps = replayed(tmp_path / "a.rec")
    assert len(steps) > 50
    assert not any(step.differs for step in steps)


def test_a_recorder_that_is_closed_lets_its_replicas_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bus = InProcessTransport()
    with Recorder(tmp_path / "a.rec") as recorder:
        replica = synced(A, bus, recorder=recorder)
    recorder.close()
    bus.publish(KEY, envelope(1))
    assert replica.value == "0.1"
    replica.close()
    assert kinds(replayed(tmp_path / "a.rec")) == JOINED
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_file_that_fails_ends_the_recording_and_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, bus = tmp_path / "a.rec", InProcessTransport()
    with Recorder(path) as recorder, synced(A, bus, recorder=recorder) as replica:
        recorder.writer._parts._file.close()
        for sequence in range(1, 9):
            bus.publish(KEY, envelope(sequence))
        assert replica.value == "0.8"
    assert recorder.problem == f"{path} could not be written (ValueError): the recording has ended"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [recorder.problem]
    assert kinds(replayed(path)) == JOINED


def test_a_value_is_recorded_as_it_came_if_it_came_encoded(tmp_path: Path) -> None:
    path, bus = tmp_path / "a.rec", InProcessTransport()
    body = EncodedBody(b"\xa1x")
    with Recorder(path) as recorder, synced(A, bus, recorder=recorder) as replica:
        bus.publish(KEY, Envelope(body, "1.0", 1))
        bus.publish(KEY, Envelope("x", "1.0", 2, body=body))
        bus.publish(KEY, Envelope(object(), "1.0", 3))
        assert (replica.value, replica.stats.parse_errors) == ("x", 1)
    shown = [getattr(step.outcome, "value", None) for step in replayed(path) if step.kind == "live"]
    assert shown == [(body,), (body,), (None,)]


FORKED = """
import os, sys
from parasync import InProcessTransport, Recorder, synced
from tests.runtime.kit import KEY, A, envelope
bus = InProcessTransport()
with Recorder(sys.argv[1]) as recorder, synced(A, bus, recorder=recorder) as replica:
    bus.publish(KEY, envelope(1))
    if (child := os.fork()) == 0:
        bus.publish(KEY, envelope(2))
        recorder.close()
        assert "forked" in recorder.problem
        os._exit(0 if replica.value == "0.2" else 1)
    assert os.waitpid(child, 0)[1] == 0
    bus.publish(KEY, envelope(2))
    assert recorder.problem == ""
"""


@pytest.mark.processes
def test_a_forked_child_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    subprocess.run([sys.executable, "-c", FORKED, str(path)], cwd=ROOT, check=True, timeout=60)
    assert kinds(replayed(path)) == [*JOINED, "live", "live", "closed"]
