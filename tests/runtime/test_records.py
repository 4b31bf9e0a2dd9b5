"""The format of a recording: read to the last whole record, and to no damaged one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest

from parasync.errors import RecordingError
from parasync.runtime._records import MAGIC, framed, read_file
from parasync.runtime._replay import Replay, Step
from tests.runtime.recordings import a_recording, replayed

ROOT = Path(__file__).parents[2]


def told(path: Path) -> tuple[list[tuple[int, object]], RecordingError | None]:
    """The records of a file, and its damage."""
    records: list[tuple[int, object]] = []
    try:
        records.extend(read_file(path))
    except RecordingError as error:
        return records, error
    return records, None


def begun(path: Path) -> tuple[list[Step], bytes, list[tuple[int, object]]]:
    """The steps of a recording, the bytes of its first records, and these."""
    steps, records = a_recording(path), list(read_file(path))
    return steps, path.read_bytes()[: records[9][0]], list[tuple[int, object]](records[:9])


def test_a_file_cut_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    steps, data, whole = begun(path)
    ends = {position for position, _ in whole[1:]} | {len(data)}
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        records, damage = told(path)
        cut = [] if size in ends else [(max([start for start, _ in whole if start <= size], default=0), ["cut"])]
        assert damage is None
        assert records == whole[: len(records) - len(cut)] + cut, size
        if not size % 97:
            found = replayed(path)
            assert found == steps[: len(found)]
    assert len(found) > 5


def test_a_bit_that_is_wrong_anywhere_is_found_and_where(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    _, data, whole = begun(path)
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ (1 << position % 8)]) + data[position + 1 :])
        records, damage = told(path)
        assert damage is not None, position
        assert damage.position == max([start for start, _ in whole if start <= position], default=0)
        assert f"at byte {damage.position}" in str(damage)
        assert records == [record for record in whole if record[0] < damage.position]


def test_the_steps_before_the_damage_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    whole, steps = a_recording(path), list[Step]()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(RecordingError, match="damaged record at byte"):
        steps.extend(Replay(path))
    assert steps == whole[:-1]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"hello, world, this is a text", "got something else than a recording at byte 0, expected 'parasync recording 1'"),
        (b"parasync recording 2\nabc", "got a recording of another format at byte 0"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "a.rec").write_bytes(data)
    with pytest.raises(RecordingError, match=expected):
        replayed(tmp_path / "a.rec")


def test_where_it_was_cut_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    a_recording(path)
    path.write_bytes(path.read_bytes()[:-1])
    replay = Replay(path)
    assert replay.cut_at is None
    last = [position for position, _ in read_file(path)][-1]
    assert (len(list(replay)) > 5, replay.cut_at) == (True, last)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"cannot be read \(No such file or directory\)"):
        replayed(tmp_path / "a.rec")


PART = ["part", 1, 1, 0]
STANDS = ["replica", 0, "a", "1.0", True, True, "refetch", 9.0, False, 1.0, 2.0]
BEATS = [[-1, 0, 0.0], [0, 0], None]
STATE = [*[0] * 9, *[False] * 3, 0, 0.0, 0.0, 0.0, 9.0, 1, 0, 0, "joined", None, *BEATS, None, None]


@pytest.mark.parametrize(
    "records",
    [
        [["part"]],
        [["step", 1, 0, 1.0, "need", ["why"], "ok", STATE]],
        [PART, [*STANDS, STATE[1:], None]],
        [PART, [*STANDS, [*STATE[:-2], [1], None], None]],
        [PART, [*STANDS, [*STATE[:-1], [1, 2, None, 3]], None]],
        [PART, [*STANDS, ["0", *STATE[1:]], None]],
        [PART, [*STANDS, STATE, ["body", {}]]],
        [PART, [*STANDS[:2], 5, *STANDS[3:], STATE, None]],
        [PART, [*STANDS[:-1], 1e15, STATE, None]],
        [PART, [*STANDS[:-1], float("nan"), STATE, None]],
        *[
            [PART, [*STANDS, STATE, None], ["step", 1, 0, 1.0, *rest]]
            for rest in (
                ["sings", [], "ok", STATE],
                ["need", ["why"], "ok", STATE[1:]],
                ["need", [], "ok", STATE],
                ["need", [5], "ok", STATE],
                ["live", [[1, 2, None, 0, "1.0", None, {}, "body"], "good"], "ok", STATE],
                ["live", [[1, 2, None, 5, "1.0", None, {}, None], "good"], "ok", STATE],
                ["live", [[1, "2", None, 0, "1.0", None, {}, None], "good"], "ok", [1, *STATE[1:]]],
                ["live", [[1, 2, None, 0, "1.0", None, {}, None], "superb"], "ok", STATE],
                ["answer", [[1, 5], ["same"], None, 1, [0, 0], 1.0, None, 0.0], "ok", STATE],
                ["beat", [1, 1, 0.0, 5.0, False, [1], 1.0, 0.0], "ok", STATE],
                ["passed", [], "ok", STATE],
            )
        ],
    ],
)
def test_what_no_recorder_wrote_is_a_typed_error(tmp_path: Path, records: list[list[object]]) -> None:
    """The checksums fit, and what is in it does not."""
    path = tmp_path / "a.rec"
    path.write_bytes(MAGIC + b"".join([framed(record) for record in records]))
    last = [position for position, _ in read_file(path)][-1]
    with pytest.raises(RecordingError, match=rf"a record at byte {last} that cannot be replayed") as caught:
        replayed(path)
    assert caught.value.position == last


@pytest.mark.processes
def test_a_process_that_was_killed_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    code = """
import itertools
from parasync import Envelope, InProcessTransport, Recorder, Topic, synced
bus, notes = InProcessTransport(), Topic("note", str)
recorder = Recorder("a.rec", bytes_max=65536)
replica = synced(notes["a"], bus, recorder=recorder)
for sequence in itertools.count(1):
    bus.publish("note:a", Envelope(str(sequence), "1.0", sequence))
    print(sequence, flush=True)
"""
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        printed = [int(process.stdout.readline()) for _ in range(1_000)]
        process.send_signal(signal.SIGKILL)
        printed += map(int, process.stdout.read().split(b"\n")[:-1])
    steps = replayed(tmp_path / "a.rec")
    assert not any(step.differs for step in steps)
    assert steps[-1].state["held"][1] >= printed[-1], "what the process has said, it had recorded"


@pytest.mark.parametrize("data", [b"\xc1", b"\x90", b"\x05"])
def test_a_record_that_is_none_is_damage(tmp_path: Path, data: bytes) -> None:
    """Though its checksums fit."""
    sizes = len(data).to_bytes(4, "big") + crc32(data).to_bytes(4, "big")
    (tmp_path / "a.rec").write_bytes(MAGIC + sizes + crc32(sizes).to_bytes(4, "big") + data)
    with pytest.raises(RecordingError, match="got a damaged record at byte 21"):
        replayed(tmp_path / "a.rec")
