"""What users pass to a replica so that it is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from parasync import InProcessTransport, Recorder, synced
from parasync.errors import UsageError
from tests.runtime.kit import NOTES, A
from tests.runtime.recordings import SEEDED, filled, kinds, replayed

ROOT = Path(__file__).parents[2]


def test_what_is_read_again_is_what_was_recorded(tmp_path: Path) -> None:
    replica = filled(tmp_path / "a.rec", 3)
    steps = replayed(tmp_path / "a.rec")
    assert kinds(steps) == [*SEEDED, "live", "live", "live"]
    assert steps[-1].held is not None
    assert steps[-1].held.body == NOTES.encode(replica.peek() or "", InProcessTransport().codec)


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("nowhere/a.rec", {}, "No such file or directory"),
        ("a\0.rec", {}, "cannot be written"),
        ("a.rec", {"bytes_max": 100}, "got bytes_max=100, expected an int of at least 65536"),
        ("a.rec", {"bytes_max": 1e9}, "got bytes_max=1000000000.0"),
        (5, {}, "got a int as path"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, path: str | int, options: dict[str, int], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        Recorder(tmp_path / path if isinstance(path, str) else path, **options)  # type: ignore[arg-type]


def test_a_replica_takes_a_recorder_and_nothing_else() -> None:
    with pytest.raises(UsageError, match="got a str as recorder"):
        synced(A, InProcessTransport(), recorder="a.rec")  # type: ignore[arg-type]
