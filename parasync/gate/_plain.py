"""What may stand at a position without a type: plain data, and the standard values that a codec tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from parasync.errors import EncodeError
from parasync.gate._forms import FORMS

VALUE_DEPTH_MAX: Final = 100
"""How deep values may nest at all, in process too, so that those that refer to themselves are found; a codec allows less."""

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes, *FORMS})
_SEQUENCES: Final = frozenset({list, tuple, set, frozenset})
STANDARD: Final = _SCALARS | _SEQUENCES | {dict}
"""The types that come back exactly without being declared."""


def demand_plain(value: Any) -> Any:
    """Return the value itself if all of it comes back exactly without a declared type.

    Raises:
        EncodeError: a part of it would not; the text names its path.
    """
    problem = _problem(value, 0)
    if problem is not None:
        raise EncodeError(f"${problem}")
    return value


def is_shallow(value: object) -> bool:
    """Whether lists and dicts nest no deeper than `VALUE_DEPTH_MAX` below the first; found without recursion."""
    level = _containers([value])
    for _ in range(VALUE_DEPTH_MAX + 1):
        if not level:
            return True
        level = _containers(part for owner in level for part in (owner.values() if type(owner) is dict else owner))
    return not level


def _containers(values: Iterable[Any]) -> list[Any]:
    # Each once, or data in which much is shared would grow from level to level.
    return list({id(value): value for value in values if type(value) is dict or type(value) is list}.values())


def _problem(value: Any, depth: int) -> str | None:
    kind = type(value)
    if kind in _SCALARS:
        return None
    if depth > VALUE_DEPTH_MAX:
        return f": got data that refers to itself, or is nested more than {VALUE_DEPTH_MAX} deep"
    if kind is dict:
        return _first(value, "key", depth) or _first(value.values(), "entry", depth)
    if kind in _SEQUENCES:
        return _first(value, "", depth)
    return (
        f": got a {kind.__name__} where no type is declared, expected plain data or a standard value; "
        "an instance of a class comes back only where a field, or the topic, declares its type"
    )


def _first(values: Iterable[Any], what: str, depth: int) -> str | None:
    for index, value in enumerate(values):
        if type(value) not in _SCALARS:
            problem = _problem(value, depth + 1)
            if problem is not None:
                return f"[{what} {index}]{problem}" if what else f"[{index}]{problem}"
    return None
