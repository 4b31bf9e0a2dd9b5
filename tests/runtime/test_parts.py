"""The two files of a recording: their bound, who may read them, and what is kept."""

from __future__ import annotations

import stat
from io import FileIO
from pathlib import Path

import pytest

from parasync import InProcessTransport, Recorder, synced
from parasync.errors import UsageError
from parasync.runtime._recorder import RECORDING_BYTES_MIN
from parasync.runtime._records import MAGIC, older_part
from tests.runtime.kit import KEY, NOTES, A, envelope
from tests.runtime.recordings import JOINED, SEEDED, a_recording, assert_replays, filled, kinds, replayed, states

ROOT = Path(__file__).parents[2]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    filled(tmp_path / "a.rec", 1)
    assert stat.S_IMODE((tmp_path / "a.rec").stat().st_mode) == 0o600


@pytest.mark.parametrize("bytes_max", [RECORDING_BYTES_MIN, 3 * RECORDING_BYTES_MIN])
def test_at_its_bound_the_older_half_is_dropped(tmp_path: Path, bytes_max: int) -> None:
    path = tmp_path / "a.rec"
    filled(path, 3_000, bytes_max=bytes_max)
    sizes = [path.stat().st_size, older_part(path).stat().st_size]
    assert max(sizes) <= bytes_max // 2
    assert sum(sizes) > bytes_max // 4
    steps = replayed(path)
    assert kinds(steps) == ["begin"] + ["live"] * (len(steps) - 1)
    assert [step.number for step in steps] == list(range(steps[0].number, 3_005))
    assert steps[0].state["held"] is not None
    assert steps[0].held is not None, "a part begins with the value, too"
    assert steps[0].held.body is not None
    assert not any(step.differs or step.missing for step in steps)
    older_part(path).unlink()
    newest = replayed(path)
    assert kinds(newest[:1]) == ["begin"]
    assert states(newest[1:]) == states(steps[1 - len(newest) :])


def test_each_replica_begins_anew_in_each_part(tmp_path: Path) -> None:
    path, bus = tmp_path / "a.rec", InProcessTransport()
    with Recorder(path, bytes_max=RECORDING_BYTES_MIN) as recorder:
        replicas = [synced(NOTES[name], bus, recorder=recorder) for name in ("a", "a", "b")]
        for sequence in range(1, 400):
            for key in ("note:a", "note:b"):
                bus.publish(key, envelope(sequence))
        bus.publish("note:a", envelope(400))
    assert_replays(path, *replicas)
    older_part(path).unlink()
    steps = assert_replays(path, *replicas)
    assert kinds(steps).count("begin") == 3
    for replica in replicas:
        replica.close()


def test_what_a_crash_left_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    before = a_recording(path)
    filled(path, 1)
    assert replayed(older_part(path)) == before
    assert kinds(replayed(path)) == [*SEEDED, "live"], "another recording is not put before it"


def test_a_part_that_had_not_begun_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    before = a_recording(path)
    path.rename(older_part(path))
    assert replayed(path) == before
    path.write_bytes(MAGIC[:5])
    assert replayed(path) == before


def test_it_never_replaces_what_is_no_recording(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("not yours")
    for path in (mine, tmp_path):
        with pytest.raises(UsageError, match="is no recording, expected a new file"):
            Recorder(path)
    (tmp_path / "a.rec.1").write_text("not yours either")
    with pytest.raises(UsageError, match=r"a\.rec\.1, which is there and is no recording"):
        Recorder(tmp_path / "a.rec")
    assert mine.read_text() == "not yours"
    assert not (tmp_path / "a.rec").exists()


class Interrupted(FileIO):
    """A file in whose first write somebody presses Ctrl-C."""

    pressed = False

    def write(self, data: object) -> int:
        if self.pressed:
            return super().write(data)  # type: ignore[arg-type]
        self.pressed = True
        super().write(bytes(data)[:99])  # type: ignore[call-overload]
        raise KeyboardInterrupt


def test_a_ctrl_c_in_the_middle_of_a_write_costs_that_step(tmp_path: Path) -> None:
    path, bus = tmp_path / "a.rec", InProcessTransport()
    with Recorder(path) as recorder, synced(A, bus, recorder=recorder) as replica:
        parts = recorder.writer._parts
        parts._file.close()
        parts._file = Interrupted(path, "r+b")
        parts._file.seek(0, 2)
        with pytest.raises(KeyboardInterrupt):
            bus.publish(KEY, envelope(1))
        assert replica.value == "0.1"
        bus.publish(KEY, envelope(2))
        bus.publish(KEY, envelope(3))
        steps = assert_replays(path, replica)
    assert kinds(steps) == [*JOINED, "begin", "live", "live"]
    assert [step.missing for step in steps] == [0, 0, 0, 0, 1, 0, 0]


def test_a_recording_ends_when_another_one_begins_in_its_file(tmp_path: Path) -> None:
    path, bus, text = tmp_path / "a.rec", InProcessTransport(), "x" * 9_000
    with Recorder(path, bytes_max=RECORDING_BYTES_MIN) as first, synced(A, bus, recorder=first) as replica:
        bus.publish(KEY, envelope(1))
        filled(path, 2)
        newest = path.read_bytes()
        for sequence in range(2, 10):
            bus.publish(KEY, envelope(sequence, text))
        assert "another recording has begun in this file" in first.problem
        assert path.read_bytes() == newest
        assert replica.value == text
