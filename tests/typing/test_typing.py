"""mypy and pyright infer the types of the public names, and refuse what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMEOUT_S = 280
FILES = ("inferred.py", "refused.py")

pytestmark = pytest.mark.project


def lines_of(name: str) -> list[str]:
    return (HERE / name).read_text().splitlines()


def expected_lines(name: str) -> set[int]:
    return {number for number, line in enumerate(lines_of(name), 1) if line.endswith("# expect")}


def mypy_errors(_folder: Path) -> dict[str, dict[int, str]]:
    command = [sys.executable, "-m", "mypy", "--strict", "--output", "json", "--cache-dir", os.devnull]
    command += [f"tests/typing/{name}" for name in FILES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, dict[int, str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{") and (error := json.loads(line))["severity"] == "error":
            found.setdefault(Path(error["file"]).name, {})[error["line"]] = error["message"]
    return found


def pyright_errors(folder: Path) -> dict[str, dict[int, str]]:
    """By basedpyright, which is pyright with all that it needs in its wheel, set to behave as pyright does."""
    settings = {
        "include": [str(HERE / name) for name in FILES],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
    }
    project = folder / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "-p", str(project), "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, dict[int, str]] = {}
    for error in json.loads(done.stdout)["generalDiagnostics"]:
        if error["severity"] == "error":
            found.setdefault(Path(error["file"]).name, {})[error["range"]["start"]["line"] + 1] = error["message"]
    return found


@pytest.mark.parametrize("checker", [mypy_errors, pyright_errors], ids=["mypy", "pyright"])
def test_types_are_inferred_and_misuse_is_refused(checker, tmp_path: Path) -> None:
    errors = checker(tmp_path)
    for name in FILES:
        found = errors.get(name, {})
        surprising = [f"{name}:{line}: {found[line]}" for line in sorted(found.keys() - expected_lines(name))]
        missed = [f"{name}:{line}: {lines_of(name)[line - 1].strip()}" for line in sorted(expected_lines(name) - found.keys())]
        assert (surprising, missed) == ([], [])
