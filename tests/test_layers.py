"""Imports point down only. This table is the architecture; whoever wants another one changes it here first.

A *part* is what stands directly below `parasync`. Every import is counted, also one inside a function: a lazy
import saves time, not a dependency. What is imported for annotations only (`if TYPE_CHECKING`) may point one step
further, as listed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "parasync"

BELOW: dict[str, frozenset[str]] = {}
"""For each part, the parts that it may import."""
for part, below in {
    "errors": "",
    "protocol": "errors",
    "gate": "errors protocol",
    "codec": "errors protocol gate",
    "topic": "errors protocol gate codec",
    "transports": "errors protocol gate codec topic",
    "stores": "errors protocol gate codec topic transports",
    "runtime": "errors protocol gate codec topic transports stores",
    # The leaves: none of them imports another.
    "sources": "errors protocol gate codec topic transports stores runtime",
    "gateway": "errors protocol gate codec topic transports stores runtime",
    "signals": "errors protocol gate codec topic transports stores runtime",
    "http": "errors protocol gate codec topic transports stores runtime",
    "threads": "errors protocol gate codec topic transports stores runtime",
    "otel": "errors protocol gate codec topic transports stores runtime",
    "testing": "errors protocol gate codec topic transports stores runtime",
    "cli": "errors protocol gate codec topic transports stores runtime",
    "pytest_plugin": "errors protocol gate codec topic transports stores runtime",
    "__main__": "errors protocol gate codec topic transports stores runtime cli",
    # The front door re-exports, and loads no leaf.
    "": "errors protocol gate codec topic transports stores runtime",
}.items():
    BELOW[part] = frozenset(below.split())

LEAVES = frozenset({"sources", "gateway", "signals", "http", "otel", "threads", "testing", "cli", "pytest_plugin"})
BRIDGES = {("parasync.cli.simulate", "testing"), ("parasync.pytest_plugin", "testing")}
"""The parts of leaves that may import another one: a command and a plugin that run the kit (decisions 33 and 34)."""
FOR_ANNOTATIONS = {("errors", "protocol"), ("gate", "codec")}
"""An error carries the version it speaks of, and a gate is told the codec of the bus."""

THIRD_PARTY: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "protocol": frozenset({"attrs"}),
    "gate": frozenset({"attrs", "cattrs", "msgspec", "pydantic", "pydantic_core", "typing_extensions"}),
    "codec": frozenset({"attrs", "cattrs", "msgpack", "msgspec"}),
    "topic": frozenset({"attrs"}),
    "transports": frozenset({"attrs", "msgpack", "nats"}),
    "stores": frozenset({"attrs"}),
    "runtime": frozenset({"attrs"}),
    "signals": frozenset({"reaktiv"}),
    "http": frozenset({"attrs"}),
    "threads": frozenset({"uvloop"}),
    "otel": frozenset({"attrs", "opentelemetry"}),
    "testing": frozenset({"attrs", "hypothesis"}),
    "pytest_plugin": frozenset({"pytest"}),
    "cli": frozenset({"attrs", "click", "psutil", "rich", "tomli_w", "watchfiles", "yaml"}),
    "": frozenset(),
}
"""For each part, the packages outside of the standard library that it may import."""

NEWER_STDLIB = {"annotationlib"}
"""What the standard library of a later Python has, imported where that Python runs."""

IMPURE = {
    *("asyncio", "concurrent", "contextvars", "datetime", "multiprocessing", "os", "queue", "random", "secrets", "select"),
    *("selectors", "signal", "socket", "ssl", "subprocess", "threading", "time"),
}
"""Clocks, tasks, sockets, randomness: the protocol is told about them, and never asks."""

HEAVY = {
    *("nats", "msgspec", "pydantic", "rich", "click", "yaml", "watchfiles", "psutil", "reaktiv", "uvloop", "hypothesis"),
    *("opentelemetry", "pytest", "parasync.cli", "parasync.testing", "parasync.transports.nats"),
}
"""What `import parasync` must leave alone: it costs time, or is an extra."""


class Import(NamedTuple):
    """One import of one module of the package."""

    part: str
    module: str
    where: str
    target: str
    for_annotations: bool

    @property
    def target_part(self) -> str:
        return self.target.split(".")[1] if "." in self.target else ""


def imports_of(source: str, module: str, is_package: bool, where: str) -> Iterator[Import]:
    """Every import in a source text, with absolute targets."""
    part = module.split(".")[1] if "." in module else ""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(source), False)]
    while pending:
        node, typing_only = pending.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(part, module, f"{where}:{node.lineno}", alias.name, typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            # A name that is no part is one of the front door.
            names = {f"parasync.{alias.name}" if alias.name in BELOW else base for alias in node.names}
            for name in names if base == "parasync" else [base]:
                yield Import(part, module, f"{where}:{node.lineno}", name, typing_only)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend((child, True) for child in node.body)
            pending.extend((child, typing_only) for child in node.orelse)
        else:
            pending.extend((child, typing_only) for child in ast.iter_child_nodes(node))


@cache
def package_imports() -> tuple[Import, ...]:
    """Every import of every module of the package."""
    found: list[Import] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE.parent).with_suffix("")
        is_package = path.name == "__init__.py"
        module = ".".join(relative.parts[:-1] if is_package else relative.parts)
        if module == "parasync.__main__":
            # What `python -m parasync` runs is a part of the command line that has to lie elsewhere.
            module = "parasync.cli.__main__"
        found.extend(imports_of(path.read_text(), module, is_package, str(path.relative_to(PACKAGE.parent))))
    return tuple(found)


def ours(target: str) -> bool:
    return target == "parasync" or target.startswith("parasync.")


def wrong_directions(imports: tuple[Import, ...]) -> list[str]:
    """The imports that point up or sideways."""
    return [
        f"{found.where}: {found.part or 'parasync'} imports {found.target}"
        for found in imports
        if ours(found.target)
        and found.target_part != found.part
        and found.target_part not in BELOW.get(found.part, frozenset())
        and not (found.part in LEAVES and found.target == "parasync")
        and not (found.for_annotations and (found.part, found.target_part) in FOR_ANNOTATIONS)
        and not any((found.module + ".").startswith(f"{module}.") and found.target_part == part for module, part in BRIDGES)
        and not (found.part == "" and found.target_part.startswith("__"))
    ]


def test_the_table_has_no_cycle_and_leaves_are_leaves() -> None:
    assert all(part not in below for part, below in BELOW.items())
    assert all(BELOW[lower] < BELOW[part] for part in BELOW for lower in BELOW[part]), "what is below what is below is below"
    assert not any(below & LEAVES for part, below in BELOW.items() if part != "__main__")


def test_every_part_has_its_place() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    parts -= {"__init__", "__main__", "__pycache__"}
    assert parts <= set(BELOW), f"not in the table: {sorted(parts - set(BELOW))}"


def test_imports_point_down() -> None:
    assert package_imports()
    assert wrong_directions(package_imports()) == []


def test_only_the_listed_packages_are_imported() -> None:
    foreign = [
        f"{found.where}: {found.part or 'parasync'} imports {found.target}"
        for found in package_imports()
        if not ours(found.target)
        and (name := found.target.split(".")[0]) not in sys.stdlib_module_names | NEWER_STDLIB
        and name not in THIRD_PARTY.get(found.part, frozenset())
    ]
    assert foreign == []


def test_the_protocol_is_pure() -> None:
    impure = [
        f"{found.where}: {found.target}"
        for found in package_imports()
        if found.part == "protocol" and found.target.split(".")[0] in IMPURE and not found.for_annotations
    ]
    assert impure == []


@pytest.mark.parametrize("folder", ["stores", "sources"])
def test_implementations_do_not_know_each_other(folder: str) -> None:
    """Two stores share their contract, and nothing else."""
    sideways = [
        f"{found.where}: {found.target}"
        for found in package_imports()
        if found.part == folder
        and not found.where.startswith(f"parasync/{folder}/__init__.py")
        and found.target_part == folder
        and not found.target.endswith("._protocol")
    ]
    assert sideways == []


def test_the_front_door_loads_nothing_heavy() -> None:
    """In an interpreter of its own, since this one has loaded everything."""
    code = f"import sys, parasync; print(*sorted(sys.modules.keys() & {HEAVY!r}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert loaded.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("parasync.protocol._replica", "from parasync.runtime import synced"),
        ("parasync.protocol._replica", "from parasync import codec"),
        ("parasync.protocol._replica", "from ..runtime import synced"),
        ("parasync.protocol._replica", "def f():\n    import parasync.topic"),
        ("parasync.gate", "import parasync.codec"),
        ("parasync.cli._serve", "from parasync.testing import strategies"),
        ("parasync.cli.simulated", "from parasync.testing import strategies"),
        ("parasync.cli.simulate._jobs", "from parasync.signals import to_signal"),
        ("parasync.runtime._synced", "from parasync import Topic"),
        ("parasync.runtime._synced", "if TYPE_CHECKING:\n    from parasync.testing import strategies"),
    ],
)
def test_a_wrong_import_is_found(module: str, line: str) -> None:
    """The check itself, fed with what it must refuse."""
    assert wrong_directions(tuple(imports_of(line, module, False, "here")))
