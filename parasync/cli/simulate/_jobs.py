"""The processes that simulate: each takes portions of the seeds, and none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from parasync.errors import SimulationError
from parasync.testing.simulation._totals import Totals

PORTION_MAX: Final = 10
"""The most seeds that a process is given at once, so that the others have work until the end, and progress is seen."""
ANSWER_BYTES_MAX: Final = 1 << 24
"""The longest answer of a process, in bytes; a longer one is a fault of ours."""
SIMULATOR: Final = "parasync.testing.simulation._report"
"""The module that simulates: it has `course_of` and `simulate`."""

# The child finds its modules where we found ours, wherever that is.
_BEGIN: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from parasync.cli.simulate._worker import main; main(sys.argv[2:])"
)


class Jobs:
    """Processes that simulate; an async context manager that ends them, whatever happens.

    Args:
        count: how many processes, at least 1.
        simulator: the module that has `course_of` and `simulate`.
    """

    def __init__(self, count: int, simulator: str) -> None:
        self._count = count
        self._simulator = simulator
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        words = [sys.executable, "-c", _BEGIN, json.dumps(sys.path), self._simulator]
        try:
            for _ in range(self._count):
                # In a session of its own: a Ctrl-C in our terminal is for us. It ends when its input does, with us at latest.
                started = asyncio.create_subprocess_exec(
                    *words, stdin=PIPE, stdout=PIPE, limit=ANSWER_BYTES_MAX, start_new_session=True
                )
                self._processes.append(await started)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        await self._end()

    async def run(self, first: int, seeds: int, heard: Callable[[Totals], None]) -> tuple[Totals, int | None]:
        """Simulate seeds until one breaks a promise; returns what was counted, and the lowest such seed.

        Args:
            first: the first seed, 0 or more.
            seeds: how many in a row.
            heard: gets the totals, as they are until now.

        Raises:
            SimulationError: somebody killed one of the processes.
        """
        size = max(1, min(PORTION_MAX, seeds // (4 * self._count)))
        portions = deque((begin, min(size, first + seeds - begin)) for begin in range(first, first + seeds, size))
        totals, broken = Totals(), set[int]()

        async def work(process: Process) -> None:
            while portions:
                begin, count = portions.popleft()
                answer = await _ask(process, {"first": begin, "seeds": count})
                totals.add_counts(answer)
                if answer["broken"] is not None:
                    broken.add(answer["broken"])
                    # What the others were given before may break at a lower seed; what nobody was given yet cannot.
                    portions.clear()
                heard(totals)

        try:
            async with asyncio.TaskGroup() as group:
                for process in self._processes:
                    group.create_task(work(process))
        except* SimulationError as killed:
            raise killed.exceptions[0] from None
        return totals, min(broken, default=None)

    async def tell(self, **order: Any) -> dict[str, Any]:
        """The story of a seed; see `_worker`."""
        return await _ask(self._processes[0], order)

    async def _end(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in self._processes:
            await process.wait()


async def _ask(process: Process, order: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 -- they were asked for
    process.stdin.write(f"{json.dumps(order)}\n".encode())
    line = await process.stdout.readline()
    if not line:
        code = await process.wait()
        if code < 0:
            raise SimulationError(f"a process was killed by signal {-code} while it simulated {order}; is there enough memory?")
        raise RuntimeError(f"a process ended with code {code} while it simulated {order}")
    answer: dict[str, Any] = json.loads(line)
    return answer
