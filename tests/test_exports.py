"""The public names: exactly these, each documented, and every error where a reader expects it."""

from __future__ import annotations

import ast
import builtins
import enum
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import parasync
from parasync import errors
from parasync.transports import AskTransport
from parasync.transports.nats import NatsTransport

PACKAGE = Path(parasync.__file__).parent

PUBLIC = {
    *("Topic", "Ref", "synced", "authority", "connect"),
    *("Change", "Snapshot", "Status", "ReplicaMeta", "Version", "SchemaVersion", "Seen", "Envelope", "Kind"),
    *("Codec", "MsgpackCodec", "SyncTransport", "InProcessTransport", "MemoryStore"),
    *("ParasyncError", "Recorder", "mirror", "Index", "Loaded", "MirrorChange", "MirrorSnapshot", "UniqueIndex", "Where"),
    # What stands in the signatures of those above, and the constants that callers compare with.
    *("ABSENT", "CHANGES_MAX", "Capabilities", "Cell", "MirrorObject", "Pace", "Stats", "Store", "Terms"),
}

WHO_ACTS = ("UsageError", "RemoteError", "TransportError", "StoreError")

SECTION = re.compile(r"^(Args|Raises|Returns|Yields|Attributes|Example|Examples):$", re.MULTILINE)
RAISED = re.compile(r"^ {4}([A-Z]\w*(?:, [A-Z]\w*)*):", re.MULTILINE)


def error_classes() -> list[type[Exception]]:
    return [item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, Exception)]


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every exported function and class, and every public method of the classes; and the transport that is imported apart."""
    for name in (*sorted(parasync.__all__), "NatsTransport"):
        item = NatsTransport if name == "NatsTransport" else getattr(parasync, name)
        if inspect.isclass(item):
            yield name, item
            for attribute, member in vars(item).items():
                function = inspect.unwrap(getattr(member, "__func__", member))
                if not attribute.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{attribute}", function
        elif callable(item):
            yield name, item


CALLABLES = dict(public_callables())


def section(doc: str, name: str) -> str:
    """The text below `name:` in a docstring, "" without one."""
    heads = list(SECTION.finditer(doc))
    for number, head in enumerate(heads):
        if head[1] == name:
            return doc[head.end() : heads[number + 1].start() if number + 1 < len(heads) else len(doc)]
    return ""


CONTRACTS: dict[str, tuple[type, ...]] = {
    "MsgpackCodec": (parasync.Codec,),
    "MemoryStore": (parasync.Store,),
    "InProcessTransport": (parasync.SyncTransport, AskTransport),
    "NatsTransport": (parasync.SyncTransport, AskTransport),
}
"""What these classes implement; their methods need not say again what the contract says of an argument."""


def contract_of(name: str) -> str:
    """What the contract says of a method, "" where there is none."""
    owner, _, method = name.partition(".")
    method = method.removesuffix("_blocking")
    found = [vars(contract)[method] for contract in CONTRACTS.get(owner, ()) if method in vars(contract)]
    return "".join(f"\n{inspect.cleandoc(each.__doc__ or '')}" for each in found)


def doc_of(name: str) -> str:
    """The docstring, and that of the contract if it only leads there."""
    doc = inspect.cleandoc(CALLABLES[name].__doc__ or "")
    return doc + inspect.cleandoc(CALLABLES[doc.split("`")[1]].__doc__ or "") if doc.startswith("See `") else doc


def options_of(function: Callable[..., Any]) -> list[str]:
    return [name for name, found in inspect.signature(function).parameters.items() if found.kind is found.KEYWORD_ONLY]


def parameters_of(item: Callable[..., Any]) -> list[str]:
    if inspect.isclass(item) and issubclass(item, Exception | enum.Enum):
        return []
    if inspect.isclass(item) and (getattr(item, "_is_protocol", False) or item.__init__ is object.__init__):
        fields = [field.name for field in attrs.fields(item) if field.init] if attrs.has(item) else []
        return fields or list(getattr(item, "_fields", ()))
    try:
        names = inspect.signature(item).parameters
    except ValueError:
        return []
    return [name for name in names if name not in ("self", "cls", "args", "kwargs") and not name.startswith("_")]


def test_the_public_names_are_the_agreed_ones() -> None:
    assert set(parasync.__all__) == PUBLIC


def test_public_names_are_sorted_and_there() -> None:
    assert len(set(parasync.__all__)) == len(parasync.__all__)
    assert [name for name in parasync.__all__ if not hasattr(parasync, name)] == []


def test_a_star_import_brings_the_public_names_only() -> None:
    code = "before = set(dir()); from parasync import *; print(*sorted(set(dir()) - before - {'before'}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert set(found.stdout.split()) == PUBLIC


def test_public_objects_say_where_they_are_found() -> None:
    """No name leads into a private module of somebody else."""
    foreign = [name for name in PUBLIC if not getattr(getattr(parasync, name), "__module__", "parasync").startswith("parasync")]
    assert foreign == []


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_the_first_line_is_the_promise(name: str) -> None:
    doc = CALLABLES[name].__doc__ or ""
    first = doc.strip().split("\n")[0]
    assert first, f"{name} has no docstring"
    assert first.endswith((".", "?", '."', ":", ";")) or "\n\n" not in doc, f"{name}: {first!r} is not a sentence on one line"


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_what_a_caller_may_choose_is_documented(name: str) -> None:
    """Every parameter of an exported class, function or method: in `Args:`, or named in the text."""
    item, doc = CALLABLES[name], doc_of(name)
    if doc.split("\n\n")[-1].startswith("Made by "):
        return
    listed = section(doc, "Args") + section(contract_of(name), "Args")
    missing = [
        parameter
        for parameter in parameters_of(item)
        if not re.search(rf"^\s+\*{{0,2}}{parameter}:", listed, re.MULTILINE)
        and not re.search(rf"`{parameter}" if not hasattr(item, "_fields") else rf"\b{parameter}", doc)
    ]
    assert missing == []


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_documented_parameters_exist(name: str) -> None:
    doc = inspect.cleandoc(CALLABLES[name].__doc__ or "")
    documented = re.findall(r"^ {4}\*{0,2}(\w+):", section(doc, "Args"), re.MULTILINE)
    known = set(parameters_of(CALLABLES[name])) | {"args", "kwargs"}
    assert [parameter for parameter in documented if parameter not in known] == []


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_raises_names_errors_that_exist(name: str) -> None:
    doc = inspect.cleandoc(CALLABLES[name].__doc__ or "")
    named = [error for group in RAISED.findall(section(doc, "Raises")) for error in group.split(", ")]
    assert [error for error in named if not hasattr(errors, error) and not hasattr(builtins, error)] == []


def raises_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names of the errors that a function itself raises, not those of functions inside it or of what it catches."""
    found: set[str] = set()
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
        pending.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_what_a_public_function_raises_is_in_its_docstring(name: str) -> None:
    """What it raises itself; what it passes on cannot be read off its source."""
    item = CALLABLES[name]
    function = vars(item).get("__init__") if inspect.isclass(item) else item
    if not inspect.isfunction(function) or not function.__code__.co_filename.startswith(str(PACKAGE)):
        return
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    documented = doc_of(name)
    assert [error for error in sorted(raises_in(node)) if hasattr(errors, error) and error not in documented] == []


def test_every_error_says_who_acts() -> None:
    """Each hangs below exactly one of the four, and the file keeps the order of the four."""
    classes = [error for error in error_classes() if error is not errors.ParasyncError]
    owners = []
    for error in classes:
        above = [name for name in WHO_ACTS if issubclass(error, getattr(errors, name))]
        assert len(above) == 1, f"{error.__name__} hangs below {above}"
        owners.append(WHO_ACTS.index(above[0]))
    assert owners == sorted(owners)


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_every_error_is_documented_and_ours(error: type[Exception]) -> None:
    assert issubclass(error, parasync.ParasyncError)
    assert error.__doc__
    assert error.__doc__.strip().split("\n")[0].endswith(".")
    assert error.__module__ == "parasync.errors"


def test_no_error_is_defined_elsewhere() -> None:
    """Who looks for an error finds it in one file."""
    elsewhere = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
                if any(base.endswith(("Error", "Exception")) for base in bases):
                    elsewhere.append(f"{path.relative_to(PACKAGE.parent)}:{node.lineno} {node.name}")
    assert elsewhere == []
