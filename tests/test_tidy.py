"""Sizes and manners of the source: what a reader can hold in the head at once, and what must not be left lying about.

The limits are the architecture's; a file that outgrows its own is usually two ideas.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE_LINES_MEDIAN_MAX = 160
MODULE_LINES_MAX = 300
FUNCTION_LINES_P95_MAX = 40
FUNCTION_LINES_MAX = 70
TEXT_SUFFIXES = {".py", ".md", ".toml", ".svg", ".css", ".yml", ".yaml", ".json", ".sh", ""}

BANNER = re.compile(r"([-=*#~_+])\1{4,}")
LEFTOVER = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X\\b", "HA" + "CK\\b"]))
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|tmp|root|home|Users|opt|mnt)/|\b[A-Z]:\\\\?Users")
BARE_IGNORE = re.compile(r"#\s*(?:type|pyright):\s*ignore(?!\[)|#\s*noqa(?!:)|pragma:\s*no\s?cover")


@cache
def project_files() -> tuple[Path, ...]:
    """Every text file that belongs to the project, committed or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:  # an unpacked source distribution
        paths = [path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    else:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return tuple(path for path in sorted(paths) if path.is_file() and path.suffix in TEXT_SUFFIXES)


def python_files(*folders: str) -> list[Path]:
    wanted = folders or ("parasync",)
    return [path for path in project_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in wanted]


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a module with its length in lines, from `def` to its end."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1


def matches(pattern: re.Pattern[str], paths: list[Path] | tuple[Path, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def comments_of(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def sleeps(source: str, *, virtually: bool = False) -> list[int]:
    """The lines that sleep for anything but nothing; in virtual time, `asyncio.sleep` takes no time."""
    found: list[int] = []
    if "sleep" not in source:
        return found
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "sleep":
            if virtually and ast.unparse(node.func) == "asyncio.sleep":
                continue
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if not (len(arguments) >= 1 and isinstance(arguments[0], ast.Constant) and arguments[0].value == 0):
                found.append(node.lineno)
    return found


def test_modules_are_short() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in python_files() if path.stat().st_size}
    assert [f"{path.relative_to(ROOT)}: {count}" for path, count in lines.items() if count > MODULE_LINES_MAX] == []
    assert statistics.median(lines.values()) <= MODULE_LINES_MEDIAN_MAX


def test_functions_are_short() -> None:
    lengths = dict(found for path in python_files() for found in functions_of(path))
    assert [f"{name}: {length}" for name, length in lengths.items() if length > FUNCTION_LINES_MAX] == []
    assert statistics.quantiles(lengths.values(), n=20)[-1] <= FUNCTION_LINES_P95_MAX


def test_no_banners() -> None:
    banners = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files("parasync", "tests", "benchmarks", "docs")
        if BANNER.search(path.read_text())
        for line, comment in comments_of(path)
        if BANNER.search(comment)
    ]
    assert banners == []


def test_nothing_is_left_for_later() -> None:
    assert matches(LEFTOVER, project_files()) == []


def test_no_paths_of_some_machine() -> None:
    mine = [path for path in project_files() if path != Path(__file__)]
    assert matches(MACHINE_PATH, mine) == []


def test_what_is_silenced_is_named() -> None:
    mine = [path for path in python_files("parasync", "tests", "benchmarks", "docs") if path != Path(__file__)]
    assert matches(BARE_IGNORE, mine) == []


def test_tests_never_sleep() -> None:
    """But the tests of the kit may in virtual time."""
    asleep = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files("tests")
        for line in sleeps(path.read_text(), virtually=path.is_relative_to(ROOT / "tests" / "testing"))
    ]
    assert asleep == []


def test_tests_mock_nothing() -> None:
    mocks = re.compile(r"^\s*(?:from|import)\s+(?:unittest\.mock|unittest\s+import\s+mock|mock|pytest_mock)\b")
    assert matches(mocks, python_files("tests")) == []


def test_annotations_are_never_evaluated_early() -> None:
    """One way to write annotations in the whole project."""
    without = [
        str(path.relative_to(ROOT))
        for path in python_files("parasync", "tests", "benchmarks")
        if path.name != "__init__.py" and path.stat().st_size and "from __future__ import annotations" not in path.read_text()
    ]
    assert without == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (BANNER, "# ---------- helpers"),
        (BANNER, "# You -------"),
        (BANNER, "####################"),
        (LEFTOVER, "# TO" + "DO: later"),
        (MACHINE_PATH, 'open("/tmp/x")'),
        (BARE_IGNORE, "x = 1  # type: ignore"),
        (BARE_IGNORE, "x = 1  # noqa"),
    ],
)
def test_the_checks_find_what_they_must_refuse(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


@pytest.mark.parametrize(
    ("source", "count"),
    [("asyncio.sleep(0)", 0), ("time.sleep(0.1)", 1), ("await sleep(delay_s)", 1), ("asyncio.sleep(delay=3)", 1)],
)
def test_sleeps_are_found(source: str, count: int) -> None:
    assert len(sleeps(source)) == count


@pytest.mark.parametrize(("source", "count"), [("asyncio.sleep(9)", 0), ("time.sleep(0.1)", 1), ("sleep(0.1)", 1)])
def test_in_virtual_time_only_real_sleeps_are_found(source: str, count: int) -> None:
    assert len(sleeps(source, virtually=True)) == count
