"""Where a store is checked: its handles, and what checks write and read through them."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

from parasync.protocol import EPOCH_BITS, EncodedBody, Envelope, Kind, Version
from parasync.stores import Draft, Outcome, Store
from parasync.testing.conformance._clauses import Clause
from parasync.testing.conformance._run import broken

T = TypeVar("T")

TOPIC: Final = "t"
KEY: Final = "t:a"
EPOCH: Final = (1_700_000_000 << EPOCH_BITS) + 7
"""Of the size of a real one."""
NOW_S: Final = 1_700_000_000.0
"""When all is written, unless told otherwise."""


def draft(body: bytes = b"x", *, key: str = KEY, **more: Any) -> Draft:
    """A write of a state; its checksum tells its bodies apart, in the largest numbers that there are."""
    checksum: int = more.pop("checksum", 2**32 - 1 - sum(body))
    now_s: float = more.pop("now_s", NOW_S)
    return Draft(key, EncodedBody(body), Kind.STATE, "2.17", checksum, now_s=now_s, **more)


def deletion(*, key: str = KEY, **more: Any) -> Draft:
    """A write of a tombstone."""
    now_s: float = more.pop("now_s", NOW_S)
    return Draft(key, EncodedBody(), Kind.TOMBSTONE, "2.17", more.pop("checksum", 0), now_s=now_s, **more)


class Shelf:
    """One store, freshly made, for one check.

    Args:
        first: a handle of it.
        second: another handle of the same, or the same.
        clause: the one that is checked.
        what: what the check looks for.
    """

    def __init__(self, first: Store, second: Store, clause: Clause, what: str) -> None:
        self.first = first
        self.second = second
        self.clause = clause
        self.what = what

    @property
    def name(self) -> str:
        """What is checked."""
        return type(self.first).__name__

    def lacks(self, _: tuple[str, ...]) -> str:
        """Nothing: what a store promises, it promises without a claim."""
        return ""

    def begin(self) -> None:
        """Nothing has to be prepared."""

    @property
    def excused(self) -> bool:
        """Never: a store may not lose anything."""
        return False

    def expect(self, got: object, expected: object) -> None:
        """Demand that both are equal."""
        if got != expected:
            raise broken(self.clause, got, expected, self.what)

    async def refused(self, error: type[Exception], call: Coroutine[Any, Any, object]) -> Any:
        """Demand that a call raises this error, and return the error."""
        try:
            got = await call
        except error as refusal:
            return refusal
        except Exception as other:
            raise broken(self.clause, f"{type(other).__name__}: {other}", error.__name__, self.what) from other
        raise broken(self.clause, got, error.__name__, self.what)

    async def unchanged(self, error: type[Exception], call: Coroutine[Any, Any, object], *keys: str) -> Any:
        """Demand that a call raises this error and changes nothing, and return the error."""
        before = await self.all_of(*keys)
        refusal = await self.refused(error, call)
        self.expect(await self.all_of(*keys), before)
        return refusal

    async def all_of(self, *keys: str) -> tuple[object, object]:
        """All that can be read of the topic."""
        state, found = await self.first.read(TOPIC, keys or (KEY,))
        return state, found

    async def write(self, what: Draft, *, epoch: int = EPOCH) -> Outcome:
        """Write through the first handle."""
        return await self.first.write(TOPIC, epoch, what)

    async def holds(self, key: str = KEY) -> Envelope[EncodedBody | None] | None:
        """What is read of one object."""
        return (await self.first.read(TOPIC, [key]))[1].get(key)

    async def position(self, key: str = KEY) -> Version | None:
        """Where one object is."""
        held = await self.holds(key)
        return None if held is None else held.version

    async def claim(self, epoch: int = EPOCH) -> None:
        """Claim the topic through the first handle."""
        await self.first.claim(TOPIC, epoch)


async def outcome_of(call: Awaitable[T]) -> T | Exception:
    """What a call returns or raises."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001 -- it is what is looked at
        return error
