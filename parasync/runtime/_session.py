"""What one client has seen and written, while a request of its is handled: so that each service reads what the others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, TypeVar

from parasync.errors import ClosedError, DeletedError, HistoryLostError, InvalidVersionError, ParasyncError, UsageError
from parasync.protocol import Seen, Version
from parasync.runtime._checks import check_wait

T_co = TypeVar("T_co", covariant=True)

HEADER: Final = "Parasync-Versions"
"""The HTTP header in which versions travel, unless told otherwise."""
SESSION_TIMEOUT_S: Final = 2.0
"""How long a request waits for the versions that its client has seen, in seconds, unless told otherwise."""

Late: TypeAlias = Literal["refuse", "go_on"]

_NAME: Final = re.compile(r"[A-Za-z0-9-]+", re.ASCII)


class Reads(Protocol[T_co]):
    """A replica that can be waited for in a coroutine, e.g. `synced`."""

    @property
    def key(self) -> str:
        """Its key."""

    @property
    def value(self) -> T_co:
        """Its newest value."""

    async def at_least(self, version: Version, timeout_s: float | None = None) -> T_co:
        """See `synced.at_least`."""


class BlockingReads(Protocol[T_co]):
    """A replica whose waits block, e.g. that of `parasync.threads`."""

    @property
    def key(self) -> str:
        """Its key."""

    @property
    def value(self) -> T_co:
        """Its newest value."""

    def at_least(self, version: Version, timeout_s: float | None = None) -> T_co:
        """See `synced.at_least`."""


class Noting:
    """Whether anybody wants to know of writes: what the way of a write looks at, and all that it costs where nobody does."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False


noting: Final = Noting()


class Session:
    """The versions that one client has seen or written; `with session:` lets the code inside read and write in its name.

    Inside, what an authority of this process writes is noted, `reads(replica)` waits for what was noted, and `outgoing()` is
    the header that tells another service. It may be used from several threads.

    Args:
        seen: what came with the request or the message, as text or read already.
        header: the name of the header that `outgoing` makes.
        timeout_s: how long a read waits for a version, in seconds.
        late: what becomes of a read whose version does not come in time: an error (`"refuse"`), or what there is (`"go_on"`).

    Raises:
        InvalidVersionError: the text does not hold versions.
        UsageError: an option is out of range.
    """

    def __init__(
        self, seen: str | Seen = "", *, header: str = HEADER, timeout_s: float = SESSION_TIMEOUT_S, late: Late = "refuse"
    ) -> None:
        check_options(header, timeout_s, late)
        self._seen = Seen()
        self._seen.merge(seen if isinstance(seen, Seen) else Seen.parse(seen))
        self._header = header
        self._timeout_s = timeout_s
        self._refuses = late == "refuse"
        self._lock = threading.Lock()
        self._tokens: list[Token[Session | None]] = []
        self.lost = Seen()
        """The versions that can never come, since the authority has lost the history in which they were written."""
        self.late = Seen()
        """The versions that did not come in time."""
        noting.on = True

    @property
    def seen(self) -> Seen:
        """A copy of what is known now: what came with the request, what was noted, without what was lost."""
        seen = Seen()
        with self._lock:
            seen.merge(self._seen)
        return seen

    def note(self, key: str, version: Version) -> None:
        """The client has seen or written the object at this version.

        Args:
            key: e.g. `"user:1"`.
            version: e.g. what `put` returned.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            InvalidVersionError: `version` is no version.
        """
        with self._lock:
            self._seen.note(key, version)

    def absorb(self, text: str | None) -> bool:
        """Note what the answer of another service tells; False, and nothing else, where that is no text of versions.

        Args:
            text: the header of the answer; None where there was none.
        """
        try:
            seen = Seen.parse(text or "")
        except InvalidVersionError:
            return False
        with self._lock:
            self._seen.merge(seen)
        return True

    def headers(self) -> dict[str, str]:
        """The header that tells another service what was seen; empty where nothing was."""
        text = str(self.seen)
        return {self._header: text} if text else {}

    def told(self) -> list[tuple[str, str]]:
        """The headers of an answer: what was seen, and what was lost or late."""
        also = ("Lost", str(self.lost)), ("Late", str(self.late))
        return [*self.headers().items(), *((f"{self._header}-{name}", text) for name, text in also if text)]

    async def wait(self, replica: Reads[Any]) -> None:
        """Wait until a replica shows what the client has seen; at once where it has seen nothing newer.

        Raises:
            AskTimeoutError: it did not come in time, and the session refuses what is late.
            ParasyncError: the replica cannot tell, and the session refuses what is late.
        """
        version = self.wanted(replica.key)
        if version is not None:
            with self._judging(replica.key, version):
                await replica.at_least(version, self._timeout_s)

    async def wait_all(self, find: Callable[[str], Reads[Any] | None]) -> None:
        """Wait for all that the client has seen and for which there is a replica, side by side.

        Raises:
            ParasyncError: as for `wait`.
        """
        found = [replica for key in self.seen if (replica := find(key)) is not None]
        ends = await asyncio.gather(*[self.wait(replica) for replica in found], return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    def wait_all_blocking(self, find: Callable[[str], BlockingReads[Any] | None], clock: Callable[[], float]) -> None:
        """As `wait_all`, one after the other within the time for one.

        Raises:
            ParasyncError: as for `wait`.
        """
        over_s = clock() + self._timeout_s
        for key in self.seen:
            replica = find(key)
            if replica is not None:
                self.wait_blocking(replica, max(0.0, over_s - clock()))

    def wait_blocking(self, replica: BlockingReads[Any], timeout_s: float | None = None) -> None:
        """As `wait`, for a replica whose waits block.

        Raises:
            ParasyncError: as for `wait`.
        """
        version = self.wanted(replica.key)
        if version is not None:
            with self._judging(replica.key, version):
                replica.at_least(version, self._timeout_s if timeout_s is None else timeout_s)

    def wanted(self, key: str) -> Version | None:
        """What a read of this object has to show at least; None where that is anything."""
        with self._lock:
            return self._seen.get(key)

    def __enter__(self) -> Self:
        self._tokens.append(_current.set(self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _current.reset(self._tokens.pop())

    def __repr__(self) -> str:
        return f"<Session {self.seen}>"

    @contextlib.contextmanager
    def _judging(self, key: str, version: Version) -> Iterator[None]:
        """What a wait comes to: a deletion is a version like any other, and what is lost is waited for by nobody any more."""
        try:
            yield
        except DeletedError:
            pass
        except HistoryLostError:
            with self._lock:
                self.lost.note(key, version)
                if self._seen.get(key) == version:
                    self._seen.drop(key)
        except ParasyncError as error:
            if isinstance(error, UsageError) and not isinstance(error, ClosedError):
                raise
            with self._lock:
                self.late.note(key, version)
            if self._refuses:
                raise


_current: Final[ContextVar[Session | None]] = ContextVar("parasync session", default=None)


def current() -> Session | None:
    """The session in which this code runs, None outside of any."""
    return _current.get()


def note_write(key: str, version: Version) -> None:
    """An authority of this process has written."""
    session = _current.get()
    if session is not None:
        session.note(key, version)


def check_options(header: str, timeout_s: float, late: str) -> None:
    """Raise unless a session can be made with these.

    Raises:
        UsageError: the header is no name of one, the time no number, or `late` no policy.
    """
    if not isinstance(header, str) or not _NAME.fullmatch(header):
        raise UsageError(f"got header={header!r}, expected a name of letters, digits and hyphens")
    check_wait("timeout_s", timeout_s)
    if late not in ("refuse", "go_on"):
        raise UsageError(f"got late={late!r}, expected 'refuse' or 'go_on'")
