"""Whatever a store raises is an error of parasync, without the texts of others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parasync import Kind, MemoryStore, Store
from parasync.errors import ConflictError, IndeterminateError, StoreError
from parasync.protocol import EncodedBody
from parasync.runtime._guard import GuardedStore
from parasync.stores import Draft

DRAFT = Draft("t:a", EncodedBody(b"x"), Kind.STATE, "1.0", 1)
CALLS: dict[str, Any] = {
    "claim": lambda store: store.claim("t", 5),
    "history_lost": lambda store: store.history_lost("t", 5),
    "raise_floor": lambda store: store.raise_floor("t", 5, before_s=1.0),
    "state": lambda store: store.state("t"),
    "write": lambda store: store.write("t", 5, DRAFT),
    "read": lambda store: store.read("t", ["t:a"]),
    "page": lambda store: store.page("t", prefix="", after="", limit=5),
    "positions": lambda store: store.positions("t", after="", limit=5),
}


class Failing:
    """A store that raises what it is told to, whatever it is asked."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: object, **__: object) -> None:
            raise self._error

        return fail


async def test_what_works_is_passed_on() -> None:
    plain, guarded = MemoryStore(), GuardedStore(MemoryStore())
    assert isinstance(guarded, Store)
    for name, call in CALLS.items():
        assert repr(await call(guarded)) == repr(await call(plain)), name


@pytest.mark.parametrize("name", CALLS)
async def test_the_errors_of_others_become_errors_of_the_store(name: str) -> None:
    for error in (OSError("secret"), KeyError("secret"), TimeoutError(), asyncio.CancelledError("secret"), BaseException()):
        with pytest.raises(StoreError, match=f"the store raised {type(error).__name__}") as caught:
            await CALLS[name](GuardedStore(Failing(error)))  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is error
        assert isinstance(caught.value, IndeterminateError) == (name == "write"), "only a write may have happened"


@pytest.mark.parametrize("name", CALLS)
async def test_who_is_cancelled_hears_that(name: str) -> None:
    class Hanging:
        def __getattr__(self, name: str) -> Any:
            return hang

    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    calling = asyncio.ensure_future(CALLS[name](GuardedStore(Hanging())))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait([calling])
    assert calling.cancelled()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("error", [ConflictError("mine"), KeyboardInterrupt()])
async def test_all_else_comes_through_as_it_is(name: str, error: BaseException) -> None:
    caught = None
    try:
        await CALLS[name](GuardedStore(Failing(error)))  # type: ignore[arg-type]
    except BaseException as raised:
        caught = raised
    assert caught is error
