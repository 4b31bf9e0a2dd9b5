"""Says in words where a task waits, and for what."""

from __future__ import annotations

import asyncio
import types
from pathlib import Path
from typing import Any, Final

FRAMES_MAX: Final = 8
"""How many of the innermost calls of a task are named."""

_CODES: Final[tuple[tuple[type[Any], str, str], ...]] = (
    (types.CoroutineType, "cr_frame", "cr_await"),
    (types.AsyncGeneratorType, "ag_frame", "ag_await"),
    (types.GeneratorType, "gi_frame", "gi_yieldfrom"),
)


def where(task: asyncio.Task[Any]) -> str:
    """The name of the task, the calls in which it is, innermost last, and what it waits for."""
    return f"task {task.get_name()!r} in {calls(task.get_coro())}{_for(getattr(task, '_fut_waiter', None))}"


def generator_at(generator: types.AsyncGeneratorType[Any, Any]) -> str:
    """The name of an async generator, and where it stands."""
    return f"async generator {calls(generator)}"


def calls(thing: object) -> str:
    """The calls in which a coroutine or generator is, innermost last."""
    found = _calls(thing)
    return " > ".join(["…", *found[-FRAMES_MAX:]] if len(found) > FRAMES_MAX else found) or "no call"


def _calls(thing: Any) -> list[str]:
    found: list[str] = []
    while thing is not None:
        for kind, frame_name, next_name in _CODES:
            if isinstance(thing, kind):
                frame = getattr(thing, frame_name)
                line = "" if frame is None else f" ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
                found.append(f"{thing.__qualname__}{line}")
                thing = getattr(thing, next_name)
                break
        else:
            return found
    return found


def _for(waited_for: Any) -> str:
    if waited_for is None:
        return ""
    if isinstance(waited_for, asyncio.Task):
        return f", waiting for task {waited_for.get_name()!r}"
    state = "done" if waited_for.done() else "pending"
    return f", waiting for a {type(waited_for).__name__.lstrip('_')} ({state})"
