"""The fan-out against an oracle that knows nothing of tuples, caches and locks, and the races that one thread never sees."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import parasync.transports._fanout as module
from parasync import Envelope
from parasync.errors import ClosedError, InvalidKeyError, UsageError
from parasync.transports._fanout import Fanout, check_handler, report

KEYS = ("a:1", "a:2", "a", "b:1")
TOPICS = ("a", "b")


def publish(fanout: Fanout, key: str, item: Any) -> None:
    targets = fanout.routes.get(key)
    fanout.deliver(fanout.merge(key) if targets is None else targets, key, item)


@dataclass
class Action:
    """What a program, or a handler when it is called, does: publish, subscribe, unsubscribe, interrupt, or raise."""

    verb: str
    name: str = ""
    which: int = 0
    script: tuple[Action, ...] = ()


def actions(depth: int) -> st.SearchStrategy[Action]:
    scripts: st.SearchStrategy[tuple[Action, ...]] = st.just(())
    if depth:
        scripts = st.lists(actions(depth - 1), max_size=3).map(tuple)
    return st.one_of(
        st.builds(Action, st.just("publish"), st.sampled_from(KEYS)),
        st.builds(Action, st.just("subscribe"), st.sampled_from(KEYS), script=scripts),
        st.builds(Action, st.just("subscribe_topic"), st.sampled_from(TOPICS), script=scripts),
        st.builds(Action, st.just("unsubscribe"), which=st.integers(0, 5)),
        st.builds(Action, st.just("interrupt")),
        st.builds(Action, st.just("raise")),
    )


class Boom(BaseException):
    """Not even an `Exception`."""


@dataclass
class Member:
    number: int
    verb: str
    name: str
    script: tuple[Action, ...]
    alive: bool = True


@dataclass
class Oracle:
    """The contract, spelt out: one flat list of members, and a list of deliveries to come."""

    members: list[Member] = field(default_factory=list)
    heard: list[tuple[int, str, Any]] = field(default_factory=list)
    to_come: list[tuple[list[Member], str, Any]] = field(default_factory=list)
    delivering: bool = False
    published: int = 0

    def run(self, action: Action) -> None:
        if action.verb.startswith("subscribe"):
            self.members.append(Member(len(self.members), action.verb, action.name, action.script))
        elif action.verb == "unsubscribe":
            if action.which < len(self.members):
                self.members[action.which].alive = False
        elif action.verb == "publish":
            self.published += 1
            topic = action.name.split(":")[0]
            reached = [
                member
                for member in self.members
                if member.alive and member.name == (action.name if member.verb == "subscribe" else topic)
            ]
            self.start(reached, action.name, self.published)
        elif action.verb == "interrupt":
            self.start([member for member in self.members if member.alive], "interrupted", "why")

    def start(self, reached: list[Member], what: str, item: Any) -> None:
        self.to_come.append((reached, what, item))
        if self.delivering:
            return
        self.delivering = True
        while self.to_come:
            members, name, thing = self.to_come.pop(0)
            for member in members:
                if member.alive:
                    self.heard.append((member.number, name, thing))
                    script, member.script = member.script, ()
                    for action in script:
                        if action.verb == "raise":
                            break
                        self.run(action)
        self.delivering = False


@dataclass
class Subject:
    """The same for the real thing."""

    fanout: Fanout = field(default_factory=Fanout)
    heard: list[tuple[int, str, Any]] = field(default_factory=list)
    unsubscribes: list[Callable[[], None]] = field(default_factory=list)
    published: int = 0

    def run(self, action: Action) -> None:
        if action.verb == "subscribe":
            self.listen(action, lambda heard: (lambda item: heard(action.name, item)), self.fanout.subscribe)
        elif action.verb == "subscribe_topic":
            self.listen(action, lambda heard: heard, self.fanout.subscribe_topic)
        elif action.verb == "unsubscribe":
            if action.which < len(self.unsubscribes):
                self.unsubscribes[action.which]()
        elif action.verb == "publish":
            self.published += 1
            publish(self.fanout, action.name, self.published)
        elif action.verb == "interrupt":
            self.fanout.deliver(self.fanout.everyone(), None, "why")

    def listen(self, action: Action, adapt: Callable[[Any], Any], subscribe: Callable[..., Any]) -> None:
        number = len(self.unsubscribes)
        script = list(action.script)

        def heard(name: str, item: Any) -> None:
            self.heard.append((number, name, item))
            todo = script[:]
            script.clear()
            for each in todo:
                if each.verb == "raise":
                    raise Boom("the payload")
                self.run(each)

        self.unsubscribes.append(subscribe(action.name, adapt(heard), lambda reason: heard("interrupted", reason)))


@given(st.lists(actions(2), max_size=25))
def test_any_program_of_handlers_does_what_the_contract_says(program: list[Action]) -> None:
    oracle, subject = Oracle(), Subject()
    for action in program:
        oracle.run(action)
        subject.run(action)
        assert subject.heard == oracle.heard
    live = {(member.verb, member.name) for member in oracle.members if member.alive}
    assert subject.fanout.key_count() == len(live)
    for unsubscribe in subject.unsubscribes:
        unsubscribe()
    assert subject.fanout.key_count() == 0
    assert (subject.fanout.routes, subject.fanout.everyone()) == ({}, ())


def test_what_a_handler_publishes_comes_after_the_current_delivery_to_everyone() -> None:
    fanout, heard = Fanout(), []

    def first(item: int) -> None:
        heard.append(("first", item))
        if item == 1:
            publish(fanout, "a", 2)
            heard.append(("first is done with", 1))

    fanout.subscribe("a", first)
    fanout.subscribe("a", lambda item: heard.append(("second", item)))
    publish(fanout, "a", 1)
    assert heard == [("first", 1), ("first is done with", 1), ("second", 1), ("first", 2), ("second", 2)]


def test_a_publish_inside_a_handler_does_not_reach_who_subscribed_after_it() -> None:
    fanout, heard = Fanout(), []

    def first(item: int) -> None:
        if item == 1:
            publish(fanout, "a", 2)
            fanout.subscribe("a", heard.append)

    fanout.subscribe("a", first)
    publish(fanout, "a", 1)
    assert heard == []
    publish(fanout, "a", 3)
    assert heard == [3]


@pytest.mark.parametrize("error", [ValueError("the payload"), asyncio.CancelledError(), GeneratorExit(), RecursionError()])
def test_a_handler_that_raises_is_reported_without_its_text_and_skipped(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    fanout, heard = Fanout(), []

    def bad(_: Any) -> None:
        raise error

    fanout.subscribe("a", bad)
    fanout.subscribe("a", heard.append)
    with caplog.at_level(logging.ERROR, "parasync"):
        publish(fanout, "a", 1)
    assert heard == [1]
    assert f"a handler of 'a' raised {type(error).__name__} at test_fanout.py:" in caplog.text
    assert "payload" not in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_program_serves_the_others_before_it_ends(error: type[BaseException]) -> None:
    fanout, heard = Fanout(), []

    def bad(item: int) -> None:
        if item == 1:
            publish(fanout, "a", 2)
            raise error

    fanout.subscribe("a", bad)
    fanout.subscribe("a", heard.append)
    with pytest.raises(error):
        publish(fanout, "a", 1)
    assert heard == [1, 2]
    publish(fanout, "a", 3)
    assert heard == [1, 2, 3]


def test_a_logger_that_raises_stops_no_delivery() -> None:
    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError

    log, broken, fanout, heard = logging.getLogger("parasync"), Broken(), Fanout(), []
    fanout.subscribe("a", lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    fanout.subscribe("a", heard.append)
    log.addFilter(broken)
    try:
        publish(fanout, "a", 1)
    finally:
        log.removeFilter(broken)
    assert heard == [1]


def test_the_place_of_an_error_that_was_never_raised_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    report("something of", "a", ValueError())
    assert "something of 'a' raised ValueError at ?" in caplog.text


def test_handlers_that_publish_more_than_they_receive_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NESTED_PUBLISHES_MAX", 10)
    fanout, refused = Fanout(), []

    def loop(item: int) -> None:
        try:
            publish(fanout, "a", item + 1)
            publish(fanout, "a", item + 1)
        except UsageError as error:
            refused.append(str(error))
            unsubscribe()

    unsubscribe = fanout.subscribe("a", loop)
    publish(fanout, "a", 0)
    assert "got more than 10 publishes waiting" in refused[0]


async def _async_handler(_: Envelope[Any]) -> None: ...


class _AsyncCallable:
    async def __call__(self, _: Envelope[Any]) -> None: ...


@pytest.mark.parametrize("handler", [_async_handler, _AsyncCallable(), None, "handler"])
def test_what_cannot_be_called_as_a_plain_function_is_no_handler(handler: Any) -> None:
    with pytest.raises(UsageError, match="no plain function"):
        check_handler(handler)
    fanout = Fanout()
    for subscribe in (fanout.subscribe, fanout.subscribe_topic):
        with pytest.raises(UsageError):
            subscribe("a", handler)
    assert fanout.key_count() == 0


@pytest.mark.parametrize("key", ["", ":1", "a:", "x" * 600, 5])
def test_an_illegal_key_is_refused_everywhere(key: Any) -> None:
    fanout = Fanout()
    for call in (fanout.merge, lambda key: fanout.subscribe(key, print), lambda key: fanout.subscribe_topic(key, print)):
        with pytest.raises(InvalidKeyError):
            call(key)


def test_after_stop_nothing_is_delivered_and_everything_is_refused() -> None:
    fanout, heard = Fanout(), []
    fanout.subscribe("a", heard.append)
    unsubscribe = fanout.subscribe_topic("a", lambda key, item: heard.append(item))
    targets = fanout.merge("a")
    fanout.stop()
    fanout.deliver(targets, "a", 1)
    unsubscribe()
    assert (heard, fanout.key_count()) == ([], 0)
    with pytest.raises(ClosedError):
        publish(fanout, "a", 1)
    with pytest.raises(ClosedError):
        fanout.subscribe("a", heard.append)


def test_the_last_to_leave_is_announced_once_and_only_then() -> None:
    emptied: list[tuple[str, bool]] = []
    fanout = Fanout(lambda name, topical: emptied.append((name, topical)))
    first, second = fanout.subscribe("a", print), fanout.subscribe("a", print)
    topic = fanout.subscribe_topic("a", print)
    first()
    first()
    assert emptied == []
    second()
    topic()
    assert emptied == [("a", False), ("a", True)]


def test_a_subscription_that_the_garbage_collector_ends_in_the_middle_of_a_change_is_gone_after_it() -> None:
    fanout = Fanout()
    ends = fanout.subscribe("a", print)

    class Collected(str):
        """A key whose hash, asked for under the lock, ends another subscription on the same thread."""

        __slots__ = ()

        def __hash__(self) -> int:
            if fanout._lock.locked():
                ends()
            return super().__hash__()

    fanout.subscribe(Collected("a"), print)
    assert [sub.handler for sub in fanout.keys["a"]] == [print]
    assert fanout.key_count() == 1


def test_publishers_do_not_wait_for_a_change_that_is_under_way() -> None:
    fanout, heard = Fanout(), []
    fanout.subscribe("a:1", heard.append)
    fanout.subscribe_topic("a", lambda key, item: heard.append(item))
    with fanout._lock:
        publish(fanout, "a:1", 1)
        assert fanout.routes == {}
    publish(fanout, "a:1", 2)
    assert (heard, list(fanout.routes)) == ([1, 1, 2, 2], ["a:1"])


def test_no_lock_is_held_while_a_handler_blocks() -> None:
    fanout, entered, leave, heard = Fanout(), threading.Event(), threading.Event(), []

    def slow(_: int) -> None:
        entered.set()
        assert leave.wait(10)

    unsubscribe = fanout.subscribe("a", slow)
    thread = threading.Thread(target=publish, args=(fanout, "a", 1))
    thread.start()
    assert entered.wait(10)
    unsubscribe()
    fanout.subscribe("a", heard.append)
    publish(fanout, "a", 2)
    assert heard == [2]
    leave.set()
    thread.join(10)


def test_threads_that_publish_subscribe_and_leave_at_once_lose_nothing() -> None:
    fanout = Fanout()
    count, threads = 2_000, 4
    heard: list[list[tuple[int, int]]] = [[] for _ in range(2)]
    fanout.subscribe("a:1", heard[0].append)
    fanout.subscribe_topic("a", lambda key, item: heard[1].append(item))
    start = threading.Barrier(threads + 1)

    def writer(number: int) -> None:
        start.wait(10)
        for sequence in range(count):
            publish(fanout, "a:1", (number, sequence))

    def churner() -> None:
        start.wait(10)
        for _ in range(count):
            ends = [fanout.subscribe("a:1", lambda _: None), fanout.subscribe_topic("a", lambda _, __: None)]
            for end in ends:
                end()

    workers = [threading.Thread(target=writer, args=(number,)) for number in range(threads)]
    workers.append(threading.Thread(target=churner))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    for items in heard:
        for number in range(threads):
            assert [sequence for writer_, sequence in items if writer_ == number] == list(range(count))
    assert (fanout.key_count(), len(fanout.everyone()), fanout._turns, len(fanout._left)) == (2, 2, {}, 0)


def test_nothing_stays_of_those_who_left() -> None:
    fanout, left = Fanout(), []
    for number in range(100):

        def handler(*_: Any) -> None: ...

        left.append(weakref.ref(handler))
        fanout.subscribe(f"a:{number}", handler)()
        fanout.subscribe_topic(f"t{number}", handler)()
        publish(fanout, f"a:{number}", 1)
        del handler
    gc.collect()
    assert [alive for each in left if (alive := each()) is not None] == []
    assert (fanout.key_count(), fanout.routes) == (0, {})
