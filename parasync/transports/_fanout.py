"""N local subscribers of a key: who they are, and how one envelope reaches each of them.

Publishers read immutable tuples and take no lock, so that a handler may block, publish, subscribe or unsubscribe as it likes.
Changes are made under one lock, under which no foreign code runs.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from operator import attrgetter
from pathlib import PurePath
from threading import get_ident
from typing import Any, Final, TypeAlias

from parasync.errors import ClosedError, UsageError
from parasync.protocol import parse_key, scope_of
from parasync.transports._protocol import Handler, Interrupted, TopicHandler, Unsubscribe

NESTED_PUBLISHES_MAX: Final = 262_144
"""The most publishes that handlers of one thread may have waiting; a handler that makes one more gets a `UsageError`."""

_log: Final = logging.getLogger("parasync")


class Subscription:
    """One handler of one key or topic; `handler` is None from the moment in which it was unsubscribed."""

    __slots__ = ("fanout", "handler", "interrupted", "name", "number", "topical")

    def __init__(
        self,
        name: str,
        handler: Callable[..., None],
        interrupted: Interrupted | None,
        topical: bool,
        fanout: Fanout | None = None,
    ) -> None:
        self.name = name
        self.fanout = fanout
        self.handler: Callable[..., None] | None = handler
        self.interrupted = interrupted
        self.topical = topical
        self.number = 0

    def end(self) -> None:
        """Unsubscribe; may be called again, and from any thread."""
        if self.fanout is not None:
            self.fanout.end(self)


Targets: TypeAlias = tuple[Subscription, ...]
_Turn: TypeAlias = tuple[Targets, str | None, Any]
_by_number: Final = attrgetter("number")


class Fanout:
    """Delivers envelopes to the local subscribers of their key, on the thread that hands them over.

    Every method may be called from any thread and from inside a handler.

    Args:
        emptied: called with the name, and whether it is a topic, after its last subscriber left; outside of all locks, on the
            thread on which that happened, which may be any.
    """

    def __init__(self, emptied: Callable[[str, bool], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._numbers = count(1)
        # Each the same object for ever, so that a bus can hold on to its lookup.
        self.keys: dict[str, Targets] = {}
        self.topics: dict[str, Targets] = {}
        # What publishers read: keys with subscribers of their own, merged with those of their topic. The first publish after a
        # change fills it.
        self.routes: dict[str, Targets] = {}
        # The threads that are delivering now, with what their handlers published meanwhile.
        self._turns: dict[int, deque[_Turn] | None] = {}
        # Unsubscribed, and still to be taken out of the tables; see `_end`.
        self._left: deque[Subscription] = deque()
        self._emptied = emptied
        self._stopped = False

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        """Call `handler` with every envelope that is published for the key from now on.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: the handler is not a plain function.
        """
        parse_key(key)
        return self._add(Subscription(key, check_handler(handler), interrupted, False, self))

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, pattern: str | None = None
    ) -> Unsubscribe:
        """Call `handler` with the key and the envelope of every object of the topic from now on, all in one order.

        A bus that can tell the objects of a pattern apart may name that: it is in `topics` too, but no `routes` know it.

        Raises:
            InvalidKeyError: the topic does not follow the grammar, or the pattern is not one of this topic.
            ClosedError: the transport was closed.
            UsageError: the handler is not a plain function.
        """
        return self._add(Subscription(scope_of(topic, pattern), check_handler(handler), interrupted, True, self))

    def key_count(self) -> int:
        """The number of keys (and topics) with at least one live subscriber."""
        self._sweep()
        return len(self.keys) + len(self.topics)

    def merge(self, key: str) -> Targets:
        """The subscribers of the key and of its topic, in the order in which they came; for a key that is not in `routes`.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            ClosedError: the transport was closed.
        """
        parsed = parse_key(key)
        if self._stopped:
            raise ClosedError("got a publish on a closed transport, expected an open one")
        if key not in self.keys:
            return self.topics.get(parsed.topic, ())
        # A publisher does not wait for a change that another thread is making: it goes on without the cache.
        locked = self._lock.acquire(blocking=False)
        try:
            own, of_topic = self.keys.get(key, ()), self.topics.get(parsed.topic, ())
            merged = tuple(sorted((*own, *of_topic), key=_by_number)) if own and of_topic else own or of_topic
            if locked and own:
                self.routes[key] = merged
        finally:
            if locked:
                self._lock.release()
                self._sweep()
        return merged

    def everyone(self) -> Targets:
        """All subscribers, in the order in which they came."""
        with self._lock:
            found = [sub for table in (self.keys, self.topics) for targets in table.values() for sub in targets]
        self._sweep()
        return tuple(sorted(found, key=_by_number))

    def deliver(self, targets: Targets, key: str | None, item: Any) -> None:
        """Give an envelope to the handlers of the targets, or, where `key` is None, a reason to their `interrupted`.

        Inside a handler of this fan-out: after the delivery that is under way. A handler that raises is reported and skipped;
        `KeyboardInterrupt` and `SystemExit` go on to the caller when all others were served.

        Raises:
            UsageError: handlers of this thread published more than `NESTED_PUBLISHES_MAX` envelopes ahead.
        """
        turns = self._turns
        thread = get_ident()
        if thread in turns:
            self._postpone(thread, (targets, key, item))
            return
        turns[thread] = None
        try:
            fatal = _serve(targets, key, item)
            waiting = turns[thread]
            if waiting is not None:
                while waiting:
                    fatal = _serve(*waiting.popleft()) or fatal
        finally:
            del turns[thread]
        if fatal is not None:
            raise fatal

    def stop(self) -> None:
        """End all subscriptions at once and for good, and tell them; later calls raise `ClosedError`."""
        with self._lock:
            self._stopped = True
            everyone = [sub for table in (self.keys, self.topics) for targets in table.values() for sub in targets]
            self.keys.clear()
            self.topics.clear()
            self.routes = {}
        told = [Subscription(sub.name, _nobody, sub.interrupted, sub.topical) for sub in everyone]
        for sub in everyone:
            sub.handler = sub.interrupted = None
        fatal = _serve(tuple(told), None, "the transport was closed")
        if fatal is not None:
            raise fatal

    def _postpone(self, thread: int, turn: _Turn) -> None:
        waiting = self._turns[thread]
        if waiting is None:
            waiting = self._turns[thread] = deque()
        if len(waiting) >= NESTED_PUBLISHES_MAX:
            raise UsageError(
                f"got more than {NESTED_PUBLISHES_MAX} publishes waiting for the end of a delivery, expected handlers"
                " that do not publish more than they receive"
            )
        waiting.append(turn)

    def _add(self, sub: Subscription) -> Unsubscribe:
        with self._lock:
            if self._stopped:
                raise ClosedError("got a subscribe on a closed transport, expected an open one")
            sub.number = next(self._numbers)
            self._replace(sub, (*self._table(sub).get(sub.name, ()), sub))
        self._sweep()
        return sub.end

    def end(self, sub: Subscription) -> None:
        """Unsubscribe; may be called again, and from any thread."""
        if sub.handler is None:
            return
        sub.handler = sub.interrupted = None
        # The garbage collector may end a subscription in the middle of a change on this very thread, so this must not wait
        # for the lock: whoever holds it sweeps when it is done.
        self._left.append(sub)
        self._sweep()

    def _sweep(self) -> None:
        emptied: list[Subscription] = []
        while self._left and self._lock.acquire(blocking=False):
            try:
                while self._left:
                    left = self._left.popleft()
                    targets = self._table(left).get(left.name, ())
                    if not self._replace(left, tuple([sub for sub in targets if sub is not left])):
                        emptied.append(left)
            finally:
                self._lock.release()
        if self._emptied is not None:
            for sub in emptied:
                self._emptied(sub.name, sub.topical)

    def _table(self, sub: Subscription) -> dict[str, Targets]:
        return self.topics if sub.topical else self.keys

    def _replace(self, sub: Subscription, targets: Targets) -> Targets:
        table = self._table(sub)
        if targets:
            table[sub.name] = targets
        else:
            table.pop(sub.name, None)
        if sub.topical:
            self.routes = {}
        else:
            self.routes.pop(sub.name, None)
        return targets


def _nobody(*_: object) -> None:
    """Stands for a handler that is not called any more."""


def _serve(targets: Targets, key: str | None, item: Any) -> BaseException | None:
    fatal = None
    for sub in targets:
        handler = sub.handler
        if handler is None:
            continue
        try:
            if key is None:
                interrupted = sub.interrupted
                if interrupted is not None:
                    interrupted(item)
            elif sub.topical:
                handler(key, item)
            else:
                handler(item)
        except (KeyboardInterrupt, SystemExit) as error:
            fatal = error
        except BaseException as error:  # noqa: BLE001 -- a handler may raise anything, and the others are served
            report("a handler of", sub.name, error)
    return fatal


def check_handler(handler: Callable[..., None]) -> Callable[..., None]:
    """Return the handler if it is one: callable, and not a coroutine function, which nobody would await.

    Raises:
        UsageError: it is something else.
    """
    if not callable(handler) or any(map(inspect.iscoroutinefunction, (handler, type(handler).__call__))):
        raise UsageError(
            f"got a {type(handler).__name__} that is no plain function, expected a handler like 'def handler(envelope)'"
        )
    return handler


def report(what: str, name: str, error: BaseException) -> None:
    """Log who raised what and where, without the text of the exception, which may contain payload. Never raises."""
    try:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{PurePath(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place is not None else "?"
        _log.error("%s %r raised %s at %s", what, name, type(error).__name__, where)
    except Exception:  # noqa: BLE001, S110 -- a broken logging set-up must not stop a delivery
        pass
