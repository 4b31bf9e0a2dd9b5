"""The documentation says what is so: every example runs, every number and every named test is looked up."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import parasync
from parasync import errors, testing
from parasync.protocol import Status, status_of
from tests import commands, limits, states
from tests.pages import LANGUAGES, ROOT, Page, blocks_of, commands_of, pages, prints

DOCS = ROOT / "docs"
README = ROOT / "README.md"
CONSISTENCY = DOCS / "explanation" / "consistency.md"
TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
BUILD_TIMEOUT_S = 300


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.project
@pytest.mark.parametrize("page", [page for page in pages() if blocks_of(page)], ids=name_of)
def test_every_example_runs(page: Path, tmp_path: Path) -> None:
    Page(page, tmp_path).run()


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_block_says_its_language(page: Path) -> None:
    """What has no language, or an unknown one, would not be run."""
    assert {block.language for block in blocks_of(page)} <= LANGUAGES
    fences = [line for line in page.read_text().splitlines() if re.match(r"\s*```", line)]
    assert all(re.fullmatch(r"```(\w+|\{[\w-]+\}.*)?", fence) for fence in fences), "an indented or unnamed block"
    assert len(fences) % 2 == 0
    assert all(fence != "```" for fence in fences[::2]), "a block without a language"
    shown = [fence for fence in fences[::2] if re.match(r"```(\w|\{code-block\})", fence)]
    assert len(blocks_of(page)) == len(shown)
    assert all(block.text.strip() for block in blocks_of(page))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_named_test_exists(page: Path) -> None:
    missing = [f"{path}::{test}" for path, test in TEST_NAME.findall(page.read_text()) if not is_test(ROOT / path, test)]
    assert missing == []


def names_of(node: ast.stmt) -> set[str]:
    """What a statement defines: a function, a class, or the test case of a state machine."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    return {target.id for target in node.targets if isinstance(target, ast.Name)} if isinstance(node, ast.Assign) else set()


def is_test(path: Path, name: str) -> bool:
    """Whether a file defines a test function or class, or a test in a class."""
    if not path.is_file():
        return False
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for part in name.split("::"):
        found = [node for node in body if part in names_of(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


def test_every_promise_names_its_test() -> None:
    """Each point of the page on consistency, promised or not, ends with the tests that show it."""
    points = re.split(r"\n(?=[-*] |\n)", CONSISTENCY.read_text())
    promises = [point.strip() for point in points if re.match(r"\s*[-*] ", point)]
    assert len(promises) >= 20
    assert [promise[:60] for promise in promises if not TEST_NAME.search(promise)] == []


@pytest.mark.project
def test_the_docs_build_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "doctrees")]
    done = subprocess.run(
        [*command, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?://[^"]+)"')
    fetched = {found for page in (tmp_path / "html").rglob("*.html") for found in loaded.findall(page.read_text())}
    assert fetched == set(), "a page must show itself without a network"


def test_the_readme_has_two_commands_that_set_up_everything() -> None:
    commands = [block.text.strip() for block in blocks_of(README) if block.language == "sh"]
    assert [command.count("\n") for command in commands] == [0, 0], "each of them is one line to copy"
    demo, suite = commands
    assert demo.endswith("parasync demo")
    assert suite.endswith("-m pytest -n auto --dist loadfile")
    assert all(command.startswith("python3 -m venv ") for command in commands)


def test_the_readme_shows_what_it_is_for_on_the_first_screen() -> None:
    first_screen = README.read_text().splitlines()[:60]
    assert "```python" in first_screen
    first = blocks_of(README)[0]
    assert first.language == "python"
    assert len([line for line in first.text.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [("a\nb", "a\nb\n", True), ("a...", "abc\nd", True), ("a", "ab", False), ("1.5", "1x5", False), ("...b...", "abc", True)],
)
def test_what_was_printed_is_compared(expected: str, printed: str, same: bool) -> None:
    assert prints(expected, printed) is same


def test_a_console_block_is_read_command_by_command() -> None:
    assert commands_of("$ one\nout\nout\n$ two\n") == [("one", "out\nout\n"), ("two", "")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "expected"),
        ("```console\n$ echo 1\n2\n```\n", "expected"),
        ("```console\n$ exit 3\n```\n", "exit code 3"),
    ],
)
def test_a_wrong_example_is_found(text: str, problem: str, tmp_path: Path) -> None:
    page = ROOT / "docs" / "unwritten.md"
    with pytest.raises(AssertionError, match=problem):
        WrittenPage(page, tmp_path, text).run()


class WrittenPage(Page):
    """A page that stands in no file."""

    def __init__(self, page: Path, folder: Path, text: str) -> None:
        super().__init__(page, folder)
        self.text = text

    def blocks(self):
        (self.folder / "page.md").write_text(self.text)
        return blocks_of(self.folder / "page.md")


def test_the_state_tables_are_those_of_the_code() -> None:
    """`python -m tests.states` writes them anew."""
    assert states.PAGE.read_text() == states.filled(states.PAGE.read_text())


def test_the_arrows_of_the_state_diagram_are_cells_of_the_table() -> None:
    drawing = (DOCS / "_figures" / "states.svg").read_text()
    arrows = re.findall(r'data-from="(\w+)" data-to="(\w+)" data-input="([^"]+)"', drawing)
    assert len(arrows) >= 8
    for start, end, title in arrows:
        reached = set()
        for situation in states.OVER_A_BUS.values():
            replica = states.replica_over(bus=True)
            situation(replica)
            if status_of(replica, states.NOW_S).name == start:
                reached.add(states.outcome_of(situation, states.INPUTS[title], bus=True)[0].name)
        assert end in reached, f"{start} does not become {end} by {title!r}"
    assert {name for name, *_ in arrows} | {"CLOSED"} == {status.name for status in Status}


def test_the_limits_are_those_of_the_code() -> None:
    """`python -m tests.limits` writes them anew."""
    page = limits.PAGE.read_text()
    assert page == limits.filled(page)
    assert [limit.name for limit in limits.limits() if limit.part not in limits.PARTS or f"`{limit.name}`" not in page] == []


def test_every_limit_says_what_happens_there() -> None:
    assert [limit.name for limit in limits.limits() if not limit.text.endswith((".", ":"))] == []


def test_every_error_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "errors.md").read_text()
    listed = re.findall(r"autoclass:: parasync\.errors\.(\w+)", page)
    assert listed == [name for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, Exception)]


def test_every_public_name_is_in_the_reference() -> None:
    pages = "".join(page.read_text() for page in (DOCS / "reference").rglob("*.md"))
    listed = set(re.findall(r"auto(?:class|function|data):: parasync\.(\w+)$", pages, re.MULTILINE))
    assert listed == set(parasync.__all__) - {"ParasyncError"}


def test_every_name_of_the_kit_is_in_the_reference() -> None:
    pages = "".join(page.read_text() for page in (DOCS / "reference").rglob("*.md"))
    listed = set(re.findall(r"auto(?:class|function|data):: parasync\.testing\.(\w+)$", pages, re.MULTILINE))
    assert listed == set(testing.__all__)


def test_the_command_line_is_described_as_it_is() -> None:
    """`python -m tests.commands` writes it anew."""
    assert commands.PAGE.read_text() == commands.filled(commands.PAGE.read_text())
