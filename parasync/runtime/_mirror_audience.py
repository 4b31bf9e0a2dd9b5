"""Who is told of the changes of a mirror, after the lock under which it changes.

Listeners are called by one thread at a time and in the order of the versions of each object. What waits for them is kept by
object, the newest of each: a listener that is slow hears of fewer steps, and of no more objects than there are.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

from parasync.protocol import Held, Mirror
from parasync.runtime._locks import NotedLock
from parasync.runtime._member import Listener
from parasync.runtime._mirror_views import MirrorChange, mirror_change
from parasync.runtime._views import Cause, merge
from parasync.transports._protocol import Unsubscribe

T = TypeVar("T")

logger: Final = logging.getLogger("parasync")

_Listeners: TypeAlias = tuple[Listener, ...]


class Audience(Generic[T]):
    """Those who listen to a mirror, or wait for it.

    Args:
        name: of the mirror, for reports.
        core: what it holds.
    """

    def __init__(self, name: str, core: Mirror[T]) -> None:
        self.name = name
        self.core = core
        self.lock = NotedLock()
        self.handler_errors = 0
        self._listeners: _Listeners = ()
        self._watchers: tuple[Callable[[], None], ...] = ()
        self._pending: dict[tuple[str, int], tuple[MirrorChange[T], _Listeners]] = {}
        self._busy = False

    def _enlist(self, key: str, old: Held[T] | None, new: Held[T] | None, cause: Cause) -> None:
        """Under the lock: have the listeners called."""
        if new is None or (old is None and not hasattr(new, "value")):
            return
        change = mirror_change(key, old, new, cause)
        listeners = self._listeners
        place = key, id(listeners)
        waiting = self._pending.get(place)
        if waiting is not None:
            merged = merge(waiting[0], change)
            assert isinstance(merged, MirrorChange)  # noqa: S101  # as both are
            change = merged
        self._pending[place] = change, listeners

    def listen(self, call: Callable[[MirrorChange[T]], None]) -> tuple[Unsubscribe, dict[str, Held[T]]]:
        """Call a listener with every later change; returns how to stop, and what is held before the first."""
        listener = Listener(call)  # type: ignore[arg-type]  # it gets these changes only
        with self.lock:
            self._listeners = (*self._listeners, listener)
            held = self.core.held.copy()

        def unsubscribe() -> None:
            if listener.active:
                listener.active = False
                self.lock.note(partial(self._unlisten, listener))

        return unsubscribe, held

    def _unlisten(self, listener: Listener) -> None:
        self._listeners = tuple([other for other in self._listeners if other is not listener])

    def watch(self, wake: Callable[[], None]) -> Unsubscribe:
        """Call `wake` after each input, after listeners were called, and when the mirror is closed."""
        with self.lock:
            self._watchers = (*self._watchers, wake)

        return lambda: self.lock.note(partial(self._unwatch, wake))

    def _unwatch(self, wake: Callable[[], None]) -> None:
        self._watchers = tuple([other for other in self._watchers if other is not wake])

    @property
    def calling(self) -> bool:
        """Whether listeners are being called, or have to be."""
        return self._busy or bool(self._pending)

    def wake(self) -> None:
        """Let those look again who wait for something."""
        for wake in self._watchers:
            wake()

    def _drain(self) -> None:
        """Call the listeners, unless another thread does: that one goes on until nothing waits."""
        fatal: BaseException | None = None
        while True:
            with self.lock:
                if self._busy or not self._pending:
                    break
                self._busy = True
                batch, self._pending = self._pending, {}
            for change, listeners in batch.values():
                for listener in listeners:
                    if listener.active:
                        try:
                            listener.call(change)
                        except BaseException as error:  # noqa: BLE001  # one bad listener harms nobody else
                            fatal = self.report(error) or fatal
            self._busy = False
        if fatal is not None:
            raise fatal

    def report(self, error: BaseException) -> BaseException | None:
        """Count and log what user code raised; what must end the program is returned, to be raised once others were served."""
        self.handler_errors += 1
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return error
        with contextlib.suppress(Exception):  # a broken logging set-up must not silence the other listeners
            logger.error("a listener of %r raised %s", self.name, type(error).__name__, exc_info=error)
        return None

    def _silence(self) -> None:
        """Call nobody any more."""
        for listener in self._listeners:
            listener.active = False
