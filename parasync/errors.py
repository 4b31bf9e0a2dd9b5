"""Every error that a public call of parasync raises, sorted by who has to act.

* `UsageError`: you. The call cannot work as written; nothing was stored, sent or changed.
* `RemoteError`: the peer. What arrived cannot be used. Inside a replica it becomes a status and a reason, never an exception.
* `TransportError`: whoever runs the bus. Asking again later may work.
* `StoreError`: the writer. The write met another write, another authority, or a store that did not answer.

Messages say what was got and what was expected, and never contain payload text; the facts are attributes as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parasync.protocol import Version


class ParasyncError(Exception):
    """The root of all errors of parasync."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Attributes travel too, so that an error keeps its facts across process pools.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(kind: type[ParasyncError], args: tuple[Any, ...], facts: dict[str, Any]) -> ParasyncError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(facts)
    return error


# You


class UsageError(ParasyncError):
    """The call cannot work as written: wrong loop or thread, a missing option, a contradiction."""


class InvalidKeyError(UsageError, ValueError):
    """A key, topic or pattern does not follow the grammar."""


class InvalidVersionError(UsageError, ValueError):
    """A version or schema version does not follow the grammar."""


class InvalidTypeError(UsageError, TypeError):
    """A value is not of the topic's type; `problems` names the paths, e.g. `$.tags[2]: expected str, got int`."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class EncodeError(UsageError, ValueError):
    """A value cannot be put on the wire: an unsupported type, too deep, too large."""


class ClosedError(UsageError):
    """The replica, authority or transport was closed before this call."""


class NotReadyError(UsageError):
    """No value has arrived yet; `await replica.ready()` waits for it."""


class DeletedError(UsageError, LookupError):
    """The object was deleted, or never existed; `version` is that of the deletion where it is known."""

    def __init__(self, message: str, version: Version | None = None) -> None:
        super().__init__(message)
        self.version = version


class ConformanceError(UsageError, AssertionError):
    """A transport or store breaks its contract: `clause` numbers what it breaks, `text` is what that demands.

    `got` and `expected` say how, as text; `check` is the check that found it.
    """

    def __init__(
        self, message: str, *, clause: int = 0, text: str = "", check: str = "", got: str = "", expected: str = ""
    ) -> None:
        super().__init__(message)
        self.clause = clause
        self.text = text
        self.check = check
        self.got = got
        self.expected = expected


class RecordingError(UsageError, ValueError):
    """A file is no recording, or is damaged; `position` is the byte at which that was found."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class SnapshotError(UsageError, ValueError):
    """A file is no saved mirror, is damaged, or cannot be read or written; `position` is the byte at which that was found."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class SimulationError(UsageError):
    """A program cannot run in virtual time, as `parasync.testing.run` runs it; `tasks` says where each waits or stands."""

    def __init__(self, message: str, tasks: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.tasks = tasks


class DeadlockError(SimulationError):
    """Everybody waits, and no timer will wake anybody."""


class LivelockError(SimulationError):
    """The program goes on and on, and does not end within the steps that it was given."""


class EscapeError(SimulationError):
    """The program slept, waited for another thread, or asked for a thread, a socket or a process of the real world."""


class LeakError(SimulationError):
    """The program left tasks, async generators, subscriptions or handles behind."""


class BrokenPromiseError(SimulationError, AssertionError):
    """A simulation broke a promise; `course` is the shortest that does so, and the text tells it."""

    def __init__(self, message: str, course: Any = None) -> None:
        super().__init__(message)
        self.course = course


class UncancelledError(SimulationError):
    """A coroutine that was cancelled at one of its awaits went on."""


# The peer


class RemoteError(ParasyncError):
    """What a peer sent cannot be used."""


class DecodeError(RemoteError, ValueError):
    """Bytes are not a frame, a body or a message of parasync: malformed, truncated, corrupt or over a limit."""


class ParseError(RemoteError, ValueError):
    """A value did not pass the parse gate; `problems` names the paths and the expected types."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class SchemaSkewError(RemoteError):
    """A value has another schema major and no upcast to this one is registered."""


class HistoryLostError(RemoteError):
    """The awaited version belongs to a history that the authority has lost."""


class RefusedError(RemoteError):
    """The authority answered that it will not do this, e.g. it takes no remote writes; the text says why."""


# The operator


class TransportError(ParasyncError):
    """The bus did not do its part."""


class ConnectError(TransportError):
    """No connection could be made: nobody listens there, or the credentials or the TLS settings do not fit."""


class NoAuthorityError(TransportError):
    """Nobody serves this topic."""


class AskTimeoutError(TransportError, TimeoutError):
    """No answer came within `timeout_s` seconds."""

    def __init__(self, message: str, timeout_s: float | None = None) -> None:
        super().__init__(message)
        self.timeout_s = timeout_s


# The writer


class StoreError(ParasyncError):
    """The store refused or failed a write."""


class ConflictError(StoreError):
    """The object is not at the expected version; `current` is where it is (None: it does not exist)."""

    def __init__(self, message: str, current: Version | None = None) -> None:
        super().__init__(message)
        self.current = current


class IdempotencyError(StoreError):
    """The idempotency key was used before with another value."""


class FencedError(StoreError):
    """Another authority took the topic over; `epoch` is the highest epoch known."""

    def __init__(self, message: str, epoch: int | None = None) -> None:
        super().__init__(message)
        self.epoch = epoch


class IndeterminateError(StoreError):
    """The store did not answer in time; the write may or may not have happened."""
