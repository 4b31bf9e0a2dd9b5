"""Reads and writes the files that can be served: JSON, TOML and YAML; a file that cannot be read says where it is wrong."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from parasync.errors import RefusedError

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
"""The longest file that is read; a longer one is reported and not served."""

_TOML_SPOT: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")
_TOKEN: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|-?Infinity|NaN|-?\d[-+.\deE]*|[{}\[\],]", re.DOTALL)
_TOO_DEEP: Final = "nested too deeply"


@attrs.frozen
class Loaded:
    """A value that was read."""

    value: object


@attrs.frozen
class Problem:
    """Why nothing was read, and where; line and column count from 1, and are 0 where no place is known."""

    line: int
    column: int
    text: str

    def at(self, path: object) -> str:
        """The problem in a file, in the form that editors understand."""
        spot = f":{self.line}:{self.column}" if self.column else f":{self.line}" if self.line else ""
        return f"{path}{spot}: {self.text}"


Read: TypeAlias = Loaded | Problem


def read_file(path: Path) -> Read:
    """Read one file by its suffix.

    Raises:
        OSError: it cannot be opened, e.g. because it is gone.
    """
    # Without waiting: a pipe may have taken the place of a file.
    with open(path, "rb", opener=_opened) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return Problem(0, 0, "not a regular file")
        data = file.read(FILE_BYTES_MAX + 1)
    return parse_limited(data, path.suffix)


def parse_limited(data: bytes, suffix: str) -> Read:
    """Read a text of which no more than one byte beyond `FILE_BYTES_MAX` was loaded; see `parse`."""
    return Problem(0, 0, f"longer than {FILE_BYTES_MAX:,} bytes") if len(data) > FILE_BYTES_MAX else parse(data, suffix)


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def parse(data: bytes, suffix: str) -> Read:
    """Read the text of a file.

    Args:
        data: the text in UTF-8.
        suffix: one of `SUFFIXES`, in any case.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        return Problem(before.count(b"\n") + 1, column, f"byte 0x{data[error.start]:02x} is not UTF-8")
    try:
        return _PARSERS[suffix.lower()](text)
    except RecursionError:
        return Problem(1, 0, _TOO_DEEP)


def dump(value: object, suffix: str) -> bytes:
    """The text of a file that reads back as exactly this value.

    Raises:
        RefusedError: the format cannot hold it exactly.
    """
    try:
        data = _WRITERS[suffix.lower()](value).encode()
        if parse(data, suffix) == Loaded(value):
            return data
    except (TypeError, ValueError, AttributeError, RecursionError):
        pass
    raise RefusedError(f"got a value that a {suffix} file cannot hold exactly")


def _json(text: str) -> Read:
    try:
        return Loaded(json.loads(text, parse_constant=_refused, parse_float=_finite, object_pairs_hook=_unique))
    except json.JSONDecodeError as error:
        return Problem(error.lineno, error.colno, error.msg)
    except ValueError:
        # Found while something was built; what and where, only a second look tells.
        return _at(text, *_oddity(text))


def _refused(_: str) -> object:
    raise ValueError


def _finite(number: str) -> float:
    made = float(number)
    if math.isinf(made):
        raise ValueError
    return made


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError
    return made


def _oddity(text: str) -> tuple[int, str]:
    """The first thing that the grammar of JSON allows, or nearly, and we do not; in a text that is JSON up to there."""
    names: list[set[str] | None] = []
    expects_name = False
    for token in _TOKEN.finditer(text):
        found = token[0]
        if found in "{[":
            names.append(set() if found == "{" else None)
            expects_name = found == "{"
        elif found in "}]":
            names.pop()
            expects_name = False
        elif found == ",":
            expects_name = bool(names) and names[-1] is not None
        elif found[0] != '"':
            if (said := _odd_number(found)) is not None:
                return token.start(), said
        elif expects_name and names[-1] is not None:
            if (name := json.loads(found)) in names[-1]:
                return token.start(), "a name stands twice in one object"
            names[-1].add(name)
            expects_name = False
    return 0, "not JSON"


def _odd_number(number: str) -> str | None:
    try:
        made = float(number) if any(character in ".eE" for character in number) else int(number)
    except ValueError:
        return "a number with too many digits" if number[-1].isdigit() else f"{number} is not JSON"
    return "a number too large for a float" if isinstance(made, float) and math.isinf(made) else None


def _toml(text: str) -> Read:
    try:
        return Loaded(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        spot = _TOML_SPOT.search(message)
        if spot is None:
            return _at(text, len(text), message.removesuffix(" (at end of document)"))
        return Problem(int(spot[1]), int(spot[2]), message[: spot.start()])
    except ValueError:
        return Problem(1, 0, "a number with too many digits")


def _yaml(text: str) -> Read:
    # Loaded when it is needed, like the other libraries here: most commands never see such a file.
    from parasync.cli._yaml import NOTHING, load_yaml, yaml_problem

    value = load_yaml(text)
    if isinstance(value, BaseException):
        line, column, offset, said = yaml_problem(value)
        return _at(text, offset, said) if line is None else Problem(line, column, said)
    return Problem(1, 0, "the file is empty: a value is expected") if value is NOTHING else Loaded(value)


def _at(text: str, offset: int, said: str) -> Problem:
    line = text.count("\n", 0, offset) + 1
    return Problem(line, offset - text.rfind("\n", 0, offset), said)


def _to_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _to_toml(value: object) -> str:
    if not isinstance(value, Mapping):
        raise TypeError
    import tomli_w

    return tomli_w.dumps(value)


def _to_yaml(value: object) -> str:
    from parasync.cli._yaml import dump_yaml

    return dump_yaml(value)


_PARSERS: Final[dict[str, Callable[[str], Read]]] = {".json": _json, ".toml": _toml, ".yaml": _yaml, ".yml": _yaml}
_WRITERS: Final[dict[str, Callable[[object], str]]] = {
    ".json": _to_json,
    ".toml": _to_toml,
    ".yaml": _to_yaml,
    ".yml": _to_yaml,
}
SUFFIXES: Final = frozenset(_PARSERS)
"""The suffixes of the files that are served, in lower case."""
