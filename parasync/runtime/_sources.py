"""Where a recovery gets the newest version from: the authority of a topic, or a function of the user."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from parasync.errors import DecodeError, EncodeError, ParasyncError, RefusedError, TransportError, UsageError
from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    ASK_KEYS_MAX,
    EPOCH_MAX,
    SAME,
    SEQUENCE_MAX,
    TOMBSTONE_CHECKSUM,
    UNANSWERED,
    Answer,
    Ask,
    Asked,
    Envelope,
    Kind,
    Outcome,
    Position,
    Request,
    Response,
    Version,
)
from parasync.runtime._member import Member
from parasync.transports._protocol import AskTransport

Refetch: TypeAlias = Callable[[], Envelope[Any] | Awaitable[Envelope[Any] | None] | None]
"""Returns the newest envelope of one object, or None if it does not exist. A plain function must not block."""

Batch: TypeAlias = Sequence[tuple[Member[Any], Asked]]

ASK_BYTES_MAX: Final = 900_000
"""The largest ask on a transport that tells no limit; replicas whose positions do not fit are asked for next."""
ENTRY_OVERHEAD_BYTES: Final = 32
"""What a replica may add to an ask beyond its key."""


class Fetched(NamedTuple):
    """What was learned of one object, and of the authority that said it; `beat` is None where its beats are not heard."""

    outcome: Outcome
    epoch: int
    floor: Version
    history_epoch: int
    beat: int | None = None
    uptime_s: float = 0.0


class Source(Protocol):
    """Fetches the newest versions of a batch of replicas; raises `ParasyncError` where it cannot."""

    @property
    def batch_max(self) -> int:
        """How many replicas one fetch serves at the most."""

    async def fetch(self, batch: Batch, timeout_s: float) -> list[Fetched]:
        """One result for each replica of the batch."""

    def fetch_now(self, batch: Batch, timeout_s: float) -> list[Fetched]:
        """The same without an event loop."""


@runtime_checkable
class BlockingAsks(Protocol):
    """A transport that can ask from a thread without an event loop."""

    def ask_blocking(self, topic: str, request: Request, timeout_s: float) -> Response:
        """Like `ask`, but blocks the calling thread."""


class TopicSource:
    """Asks the authority of a topic, one ask for all replicas that need it."""

    batch_max: int = ASK_KEYS_MAX

    def __init__(self, transport: AskTransport, topic: str) -> None:
        self._transport = transport
        self._topic = topic

    async def fetch(self, batch: Batch, timeout_s: float) -> list[Fetched]:
        """Ask; replicas of one key that stand at one position share an entry, and what does not fit is not answered."""
        ask, entries = self._ask_of(batch)
        try:
            return _results(ask, entries, await self._transport.ask(self._topic, ask, timeout_s))
        except EncodeError:
            # A bus that does not say what fits refuses so many keys: fewer next time.
            self.batch_max = max(1, self.batch_max // 2)
            raise

    def fetch_now(self, batch: Batch, timeout_s: float) -> list[Fetched]:
        """Ask from a thread without an event loop."""
        if not isinstance(self._transport, BlockingAsks):
            raise UsageError("this transport can ask in an event loop only")
        ask, entries = self._ask_of(batch)
        return _results(ask, entries, self._transport.ask_blocking(self._topic, ask, timeout_s))

    def _ask_of(self, batch: Batch) -> tuple[Ask, list[int]]:
        """The ask, and the place of each replica in it; what does not fit into one message has a place behind its end."""
        places: dict[tuple[str, object], int] = {}
        entries = [places.setdefault((member.key, asked.position), len(places)) for member, asked in batch]
        first = {entry: index for index, entry in reversed(list(enumerate(entries)))}
        chosen = [batch[first[entry]] for entry in range(len(places))]
        limit_bytes = getattr(self._transport, "body_bytes_max", ASK_BYTES_MAX)
        sizes = accumulate(len(member.key.encode()) + ENTRY_OVERHEAD_BYTES for member, _ in chosen)
        chosen = chosen[: max(1, sum(size_bytes <= limit_bytes for size_bytes in sizes))]
        epoch = max(member.current_epoch for member, _ in batch)
        return Ask(epoch, tuple(member.key for member, _ in chosen), tuple(asked.position for _, asked in chosen)), entries


class RefetchSource:
    """Calls a function of the user, once for all replicas of its key."""

    batch_max: int = ASK_KEYS_MAX

    def __init__(self, refetch: Refetch) -> None:
        self._refetch = refetch

    async def fetch(self, batch: Batch, timeout_s: float) -> list[Fetched]:
        """Call it, and await what it returns if that is awaitable."""
        with _as_failure():
            found = self._refetch()
            if inspect.isawaitable(found):
                found = await found
        return _found(found, batch)

    def fetch_now(self, batch: Batch, timeout_s: float) -> list[Fetched]:
        """Call it; an awaitable cannot be awaited here."""
        with _as_failure():
            found = self._refetch()
        if inspect.isawaitable(found):
            if inspect.iscoroutine(found):
                found.close()
            raise UsageError("got an async refetch, expected a plain function: there is no event loop here")
        return _found(found, batch)


@contextlib.contextmanager
def _as_failure() -> Iterator[None]:
    try:
        yield
    except ParasyncError:
        raise
    except Exception as error:
        raise TransportError(f"refetch raised {type(error).__name__}") from error


def _results(ask: Ask, entries: Sequence[int], response: Response) -> list[Fetched]:
    if isinstance(response, Answer) and len(response.outcomes) == len(ask.keys):
        about = response.epoch, response.floor, response.history_epoch, response.beat, response.uptime_s
        outcomes = response.outcomes
        return [Fetched(outcomes[entry] if entry < len(outcomes) else UNANSWERED, *about) for entry in entries]
    if isinstance(response, Answer):
        raise DecodeError(f"got {len(response.outcomes)} outcomes, expected {len(ask.keys)}: one for each entry of the ask")
    reason = getattr(response, "reason", f"got a {type(response).__name__}, expected an Answer")
    raise RefusedError(f"the authority refused to answer: {reason}")


def _found(found: object, batch: Batch) -> list[Fetched]:
    if isinstance(found, Envelope):
        check_envelope(found, "refetch")
        return [Fetched(found, found.epoch, ABSENT, 0)] * len(batch)
    if found is None:
        return [Fetched(_nothing_at(asked.position), member.current_epoch, ABSENT, 0) for member, asked in batch]
    raise UsageError(f"got a {type(found).__name__} from refetch, expected an Envelope or None")


def _nothing_at(position: Position | None) -> Outcome:
    deleted = position is not None and position.checksum == TOMBSTONE_CHECKSUM
    return SAME if deleted else ABSENT_OBJECT


def check_envelope(envelope: Envelope[Any], what: str) -> None:
    """Raise unless an envelope that the user made can be compared with others.

    Raises:
        UsageError: its version or its kind is not of the type or in the range that it must be.
    """
    sequence, epoch = envelope.sequence, envelope.epoch
    if type(sequence) is not int or not 1 <= sequence <= SEQUENCE_MAX:
        raise UsageError(f"got an envelope with sequence={sequence!r} from {what}, expected an int from 1 to {SEQUENCE_MAX}")
    if type(epoch) is not int or not 0 <= epoch <= EPOCH_MAX:
        raise UsageError(f"got an envelope with epoch={epoch!r} from {what}, expected an int from 0 to {EPOCH_MAX}")
    if not isinstance(envelope.kind, Kind):
        raise UsageError(f"got an envelope with kind={envelope.kind!r} from {what}, expected a Kind")
