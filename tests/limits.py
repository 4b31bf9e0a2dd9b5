"""Collects the constants that limit something, for the tables of `reference/limits.md`.

`python -m tests.limits` writes the page anew; `tests/test_docs.py` fails where the page and the code disagree. What happens
at a limit is the docstring below the constant; a constant without one fails the test too.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from parasync import Pace, Terms
from tests.states import between

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "limits.md"
PARTS = ("protocol", "codec", "gate", "topic", "transports", "stores", "runtime", "http", "threads", "testing", "cli")
NAME = re.compile(r"[A-Z][A-Z0-9_]*_(MAX|MIN|S)")
DEFAULTS = {"pace": Pace, "terms": Terms}


class Limit(NamedTuple):
    """One constant."""

    part: str
    name: str
    value: int | float
    text: str


@cache
def limits() -> tuple[Limit, ...]:
    """Every public numeric constant of the package whose name says that it is a limit or a time."""
    return tuple(found for path in sorted((ROOT / "parasync").rglob("*.py")) for found in limits_of(path))


def limits_of(path: Path) -> Iterator[Limit]:
    """Those that one module defines."""
    relative = path.relative_to(ROOT).with_suffix("")
    parts = relative.parts[:-1] if path.name == "__init__.py" else relative.parts
    body = ast.parse(path.read_text()).body
    names = [
        (statement.target.id, following)
        for statement, following in zip(body, [*body[1:], None], strict=True)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and NAME.fullmatch(statement.target.id)
    ]
    module = importlib.import_module(".".join(parts)) if names else None
    for name, following in names:
        doc = following.value.value if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant) else ""
        yield Limit(parts[1], name, getattr(module, name), " ".join(str(doc).split()))


def amount(value: float) -> str:
    """A number as a person reads it."""
    if not isinstance(value, int):
        return f"{value:,g}"
    power = value.bit_length() - 1
    if value >= 2**40:
        return f"2^{value.bit_length()} − 1" if value == 2 ** value.bit_length() - 1 else f"{value:,}"
    return f"{value:,} (2^{power})" if value >= 1 << 20 and value == 1 << power else f"{value:,}"


def limit_table(part: str) -> str:
    found = [limit for limit in limits() if limit.part == part]
    if not found:
        return "None of its own."
    lines = ["| name | value | |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| `{limit.name}` | {amount(limit.value)} | {limit.text} |" for limit in found)])


def default_table(cls: Any) -> str:
    """The fields of an options class that hold numbers, with what their docstring says."""
    described = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", cleandoc(cls.__doc__ or ""), re.MULTILINE))
    lines = ["| name | default | |", "| --- | --- | --- |"]
    for field in attrs.fields(cls):
        if isinstance(field.default, int | float):
            lines.append(f"| `{field.name}` | {amount(field.default)} | {' '.join(described[field.name].split())} |")
    return "\n".join(lines)


def filled(text: str) -> str:
    """A page with its tables as the code has them."""
    for part in PARTS:
        text = between(text, part, limit_table(part))
    for name, cls in DEFAULTS.items():
        text = between(text, name, default_table(cls))
    return text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
