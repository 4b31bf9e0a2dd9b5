"""What must become of every world once nothing goes wrong any more: P5, judged by comparing replicas with the disk.

Until then anything may have happened. Now an authority serves, messages arrive, and every replica asks from time to time. Where
nothing was lost without a trace, or there are beats, it is enough that replicas ask when they have a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from parasync.protocol import Status, status_of
from tests.protocol.realm import Asking
from tests.protocol.witness import Truth, Violation, is_newest
from tests.protocol.world import Listener, World

ROUNDS: Final = 5
"""Within so many asks everything has converged."""
FATES: Final = ("lost", "delivered", "delivered in reverse")
"""What becomes of the messages that are under way when faults stop."""


def settle(world: World, *, fate: str = "delivered", lowest_first: bool = False, reasons_only: bool = False) -> None:
    """Let faults stop; blame whatever does not converge.

    Args:
        world: to be settled.
        fate: of the messages that are under way.
        lowest_first: whether asks reach the authority of the lowest epoch as long as several serve, or that of the highest.
        reasons_only: nobody asks without a reason, unless something was lost of which nobody can know; beats tell of all.
    """
    if fate == "lost" and not world.lossless:
        while world.network:
            world.lose()
    if fate == "delivered in reverse":
        world.network.reverse()
    choose = min if lowest_first else max
    drain(world, choose)
    for number in range(ROUNDS + 2):
        someone_serves(world)
        flush(world, choose)
        reasons = reasons_only and (world.beats or not world.lost_unnoticed)
        if number < ROUNDS and not reasons:
            for name, process in world.processes.items():
                for index in range(len(process.listeners)):
                    world.interrupt(name, index)
        beat_all(world, choose)
        asked = ask_all(world, choose)
        if asked and number >= ROUNDS and world.askable:
            raise Violation("P5: somebody asks for ever")
    if not world.askable:
        write_all(world, choose)
        write_all(world, choose)
    if len(world.serving()) != 1:
        raise Violation(f"P5: {len(world.serving())} authorities serve for ever")
    truth = world.truth_of(world.serving()[0])
    for listener in world.listeners():
        check_converged(world, listener, truth)
    if world.askable:
        keep_busy(world, choose)


def check_converged(world: World, listener: Listener, truth: Truth) -> None:
    """A replica shows what the disk has, or says that it cannot read it."""
    replica, newest = listener.replica, truth.objects.get(listener.key)
    status = status_of(replica, 0.0)
    if newest is not None and not passes(newest.value, newest.schema_version):
        expected = Status.STALE if replica.held is None else Status.SKEW
        if status is not expected or replica.refused is None or replica.refused.position.version != newest.version:
            raise Violation(f"P5: {listener.key} cannot be read at {newest.version}, and the replica says {status}")
    elif replica.held is None or not is_newest(listener.key, replica.held, truth):
        shown = "nothing" if replica.held is None else replica.held.version
        raise Violation(f"P5: {listener.key} shows {shown}, and there is {None if newest is None else newest.version}")
    elif status is not Status.OK and (world.askable or world.lossless):
        raise Violation(f"P5: {listener.key} is current and says {status}: {replica.need_reason}")


def passes(value: str | None, schema: str) -> bool:
    """Whether the gate of the tests lets a value pass."""
    return value is None or (not value.startswith("bad") and schema == "1.0")


def someone_serves(world: World) -> None:
    """The fenced take over where nobody serves, and the dead come back; then whoever serves is heard by the others."""
    for name in world.authorities:
        if world.authorities[name].mode == "fenced":
            world.resume(name)
    if not world.serving():
        world.start("A")
    for name in world.serving():
        if world.authorities[name].mode == "serving":
            world.announce(name)


def flush(world: World, choose: Callable[[list[int]], int]) -> None:
    """Everything that was stored is sent, and everything that was sent arrives."""
    for name, authority in world.authorities.items():
        while authority.outbox:
            world.send(name)
    drain(world, choose)


def beat_all(world: World, choose: Callable[[list[int]], int]) -> None:
    """Whoever serves beats, and everybody has waited for what the beats name."""
    for name in world.serving():
        world.beat(name)
    drain(world, choose)
    for name, process in world.processes.items():
        for index in range(len(process.listeners)):
            world.look_again(name, index)


def drain(world: World, choose: Callable[[list[int]], int]) -> None:
    """Deliver all that is under way."""
    while world.network:
        serving = {world.authorities[name].epoch: name for name in world.serving()}
        if serving:
            world.deliver(0, serving[choose(list(serving))])
        elif isinstance(world.network[0], Asking):
            world.lose(0)
        else:
            world.deliver(0)
        world.check()


def ask_all(world: World, choose: Callable[[list[int]], int]) -> int:
    """Whoever has a need asks, and gets an answer. Returns how many processes asked."""
    for name, process in world.processes.items():
        if process.pending is not None:
            world.timeout(name)
    asking = [name for name, process in world.processes.items() if world.askable and process.has_need()]
    for name in asking:
        world.ask(name)
    drain(world, choose)
    flush(world, choose)
    return len(asking)


def write_all(world: World, choose: Callable[[list[int]], int]) -> None:
    """One more version of every object that somebody listens to."""
    for key in sorted({listener.key for listener in world.listeners()}):
        world.write(world.serving()[0], key)
    flush(world, choose)


def keep_busy(world: World, choose: Callable[[list[int]], int]) -> None:
    """Under steady writes every answer is older than what has come live: doubts must end all the same."""
    for name, process in world.processes.items():
        for index in range(len(process.listeners)):
            world.interrupt(name, index)
    for _ in range(ROUNDS):
        for name, process in world.processes.items():
            if process.has_need():
                world.ask(name)
        asks, world.network = world.network, []
        for message in asks:
            assert isinstance(message, Asking)
            world.serve(world.serving()[0], message, heard=True)
        answers, world.network = world.network, []
        write_all(world, choose)
        if world.names_max > 1:  # else every beat is a reason to ask
            beat_all(world, choose)
        world.network.extend(answers)
        drain(world, choose)
    if any(listener.replica.need_open for listener in world.listeners()):
        raise Violation("P5: under steady writes a doubt never ends")
