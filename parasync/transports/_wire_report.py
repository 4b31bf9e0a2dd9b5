"""Reports of what replicas refuse, as bytes. Whoever may ask may send one: everything in it is bounded and printable."""

from __future__ import annotations

from typing import Any, Final

from parasync.errors import DecodeError
from parasync.protocol import NAME_CHARS_MAX, REFUSALS_MAX, Identity, Noted, Refusing, Report, SchemaVersion
from parasync.transports._wire_fields import COUNT_MAX, WIRE_FORMAT, fields_of, integer, items, label

NOTED: Final = 15
"""The kind of an answer that says no more than that the request was taken note of."""
PID_MAX: Final = 2**63 - 1
"""The largest number of a process."""

_ERRORS: Final = ("SchemaSkewError", "ParseError")


def report_fields(report: Report) -> list[Any]:
    """What stands for a report."""
    return [WIRE_FORMAT, report.sender, identity_fields(report.who), report.accepts, refusals_fields(report.refusals)]


def report_of(fields: Any) -> Report:
    """The report that stands there.

    Raises:
        DecodeError: it is none.
    """
    sender, who, accepts, refusals = fields_of(fields, 4)
    return Report(label(sender, NAME_CHARS_MAX), identity_of(who), schema_of(accepts), refusals_of(refusals))


def noted_of(fields: Any) -> Noted:
    """The answer to a report.

    Raises:
        DecodeError: it is none.
    """
    (kind,) = fields_of(fields, 1)
    integer(kind, NOTED, NOTED)
    return Noted()


def identity_fields(who: Identity) -> list[Any]:
    """What stands for a process."""
    return [who.host, who.program, who.pid, who.library]


def identity_of(value: Any) -> Identity:
    """The process that stands there.

    Raises:
        DecodeError: it is none.
    """
    host, program, pid, library = exactly(value, 4)
    names = label(host, NAME_CHARS_MAX), label(program, NAME_CHARS_MAX)
    return Identity(*names, integer(pid, PID_MAX), label(library, NAME_CHARS_MAX))


def refusals_fields(refusals: tuple[Refusing, ...]) -> list[Any]:
    """What stands for kinds of refusals."""
    return [[refused.schema_version, refused.error, refused.keys] for refused in refusals]


def refusals_of(value: Any) -> tuple[Refusing, ...]:
    """The kinds of refusals that stand there.

    Raises:
        DecodeError: it is something else.
    """
    return tuple(_refusing(*exactly(each, 3)) for each in items(value, REFUSALS_MAX))


def exactly(value: Any, count: int) -> list[Any]:
    """An array of so many items."""
    if len(items(value, count)) != count:
        raise DecodeError(f"got something else than an array of {count} items")
    return list(value)


def error_of(value: Any) -> str:
    """Why a replica refuses something."""
    if value not in _ERRORS:
        raise DecodeError(f"got something else than one of {', '.join(_ERRORS)}")
    return str(value)


def schema_of(value: Any) -> str:
    """A schema version."""
    SchemaVersion.parse(label(value, NAME_CHARS_MAX))
    return str(value)


def _refusing(schema_version: Any, error: Any, keys: Any) -> Refusing:
    return Refusing(schema_of(schema_version), error_of(error), integer(keys, COUNT_MAX, 1))
