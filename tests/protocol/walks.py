"""Random walks: each seed is one world with its own taste for some actions and some faults, walked through and then settled."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

from parasync.protocol import BEAT_NAMES_MAX, Kind, Version
from tests.protocol.realm import LIFE, Asking
from tests.protocol.settle import FATES, ask_all, drain, settle
from tests.protocol.witness import Violation
from tests.protocol.world import ROGUES, Process, World

STEPS_MAX: Final = 60
SEED_VARIABLE: Final = "PARASYNC_WALK_SEED"
FAULTS: Final = (
    *("bad", "skew", "delete", "purge", "crash", "backup", "start", "resume"),
    *("timeout", "interrupt", "lose", "duplicate", "join", "rogue"),
)
HELPERS: Final = {
    "purge": ("delete",),
    "backup": ("crash", "start"),
    "crash": ("start",),
    "resume": ("start",),
}
"""Faults that need others to be possible at all."""
IN_PROCESS: Final = frozenset({"bad", "skew", "delete", "purge", "start", "timeout", "interrupt", "join", "backup", "crash"})
"""What can go wrong where nothing is lost."""
WEIGHTS: Final = {"deliver": 8, "send": 4, "ask": 2, "write": 2, "announce": 1, "beat": 2, "look_again": 2}


class Action(NamedTuple):
    """A method of the world, and what it is called with."""

    method: str
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        options = [f"{name}={value!r}" for name, value in self.options]
        return f"world.{self.method}({', '.join([*map(repr, self.arguments), *options])})"


Actions: TypeAlias = Iterator[Action]


@attrs.define
class Scope:
    """What one world is like."""

    disks: tuple[str, ...]
    lossless: bool
    askable: bool
    checksums: bool
    gap: str
    processes: tuple[tuple[str, ...], ...]
    keys: tuple[str, ...]
    seed: str
    warm: bool
    budget: dict[str, int]
    fate: str
    lowest_first: bool
    reasons_only: bool
    beats: bool
    names_max: int
    grace_s: float

    @classmethod
    def drawn(cls, draw: random.Random) -> Scope:
        """A random one."""
        lossless = draw.random() < 0.25
        askable = draw.random() < 0.9
        keys = ("k",) if draw.random() < 0.7 else ("k", "l")
        groups = [(draw.choice(keys),) * draw.choice((1, 1, 2)), keys]
        asks = draw.choice((0, 1, 2, 9)) if askable else 0
        budget = dict.fromkeys(FAULTS, 0) | {"write": draw.choice((1, 2, 4)), "ask": asks}
        for fault in draw.sample(FAULTS, draw.choice((2, 3, 4, 5, 6, 12))):
            for kind in (fault, *HELPERS.get(fault, ())):
                budget[kind] = budget[kind] or draw.choice((1, 2, 3))
        if lossless or not askable:
            budget |= dict.fromkeys(set(FAULTS) - IN_PROCESS, 0)
        beats = not lossless and askable and draw.random() < 0.6
        budget |= {"announce": 0, "beat": draw.choice((1, 3, 9))} if beats else {"announce": 2, "beat": 0}
        disks = (("disk",), ("disk",), ("disk", "disk"), ("disk", "other"))
        return cls(
            ("disk",) if lossless or not askable else draw.choice(disks),
            lossless,
            askable,
            draw.random() < (0.5 if lossless else 1.0),
            draw.choice(("refetch", "refetch", "refetch", "apply")),
            tuple(draw.choice(groups) for _ in range(draw.choice((1, 1, 2)))),
            keys,
            draw.choice(("none", "none", "none", "low", "same life", "far life")) if askable else "none",
            draw.random() < 0.6,
            budget,
            draw.choice(FATES),
            draw.random() < 0.5,
            draw.random() < 0.7,
            beats,
            1 if draw.random() < 0.1 else BEAT_NAMES_MAX,
            0.5 if draw.random() < 0.2 else 0.0,
        )

    def seed_version(self, world: World) -> Version | None:
        """Where an unproven seed stands."""
        epoch = world.authorities["A"].epoch
        if self.seed == "none":
            return None
        return {"low": Version(LIFE, 9), "same life": Version(epoch, 3), "far life": Version(epoch + 50 * LIFE, 2)}[self.seed]

    def world(self) -> World:
        """One authority, one object, and everybody who listens."""
        world = World(
            *self.disks,
            lossless=self.lossless,
            askable=self.askable,
            checksums=self.checksums,
            gap=self.gap,  # type: ignore[arg-type]
            beats=self.beats,
            names_max=self.names_max,
            grace_s=self.grace_s,
        )
        world.start("A")
        world.write("A", self.keys[0])
        if not self.lossless:
            world.send("A")
        for number, keys in enumerate(self.processes):
            for key in keys:
                world.join(f"P{number}", key, seed=self.seed_version(world))
        if self.warm:
            drain(world, max)
            ask_all(world, max)
        world.check()
        return world


def actions(world: World, kind: str) -> Actions:
    """The actions of a kind that are possible now."""
    if kind in ("write", "bad", "skew", "delete", "purge", "send", "announce", "beat", "crash", "backup", "start", "resume"):
        for name in world.authorities:
            yield from _of_an_authority(world, kind, name)
    elif kind in ("deliver", "lose", "duplicate"):
        for index, message in enumerate(world.network):
            if kind != "deliver" or not isinstance(message, Asking):
                yield Action(kind, (index,))
            else:
                for name in world.serving():
                    yield from (Action(kind, (index, name), (("heard", heard),)) for heard in (True, False))
    else:
        for name, process in world.processes.items():
            yield from _of_a_process(process, kind, name)


def _of_a_process(process: Process, kind: str, name: str) -> Actions:
    waits = process.pending is not None
    if (kind == "timeout" and waits) or (kind == "ask" and not waits and process.has_need()):
        yield Action(kind, (name,))
    elif kind == "join":
        yield from (Action(kind, (name, key)) for key in sorted({listener.key for listener in process.listeners}))
    elif kind == "interrupt":
        yield from (Action(kind, (name, index)) for index in range(len(process.listeners)))
    elif kind == "look_again":
        waiting = [index for index, listener in enumerate(process.listeners) if listener.replica.look_again_s < math.inf]
        yield from (Action(kind, (name, index)) for index in waiting)
    elif kind == "rogue":
        yield from (Action(kind, (name, index, form)) for index in range(len(process.listeners)) for form in ROGUES)


def _of_an_authority(world: World, kind: str, name: str) -> Actions:
    authority, disk = world.authorities[name], world.disk_of(name)
    serves = authority.mode == "serving"
    keys = sorted({listener.key for listener in world.listeners()})
    if kind in ("write", "bad", "skew") and serves:
        options = {"write": (), "bad": (("bad", True),), "skew": (("schema", "2.0"),)}[kind]
        yield from (Action("write", (name, key), options) for key in keys)
    elif kind in ("delete", "purge") and serves:
        wanted = Kind.STATE if kind == "delete" else Kind.TOMBSTONE
        held = [key for key in keys if key in disk.objects and disk.objects[key].kind is wanted]
        # Only what is sent and owned may be dropped: tombstones live far longer than an outbox.
        if kind == "delete" or (disk.epoch == authority.epoch and not authority.outbox):
            yield from (Action(kind, (name, key)) for key in held)
    elif (
        (kind == "send" and authority.outbox)
        or (kind in ("announce", "beat") and serves)
        or (kind in ("crash", "backup") and authority.mode != "down")
    ):
        yield Action(kind, (name,))
    elif kind == "resume" and authority.mode == "fenced":
        yield from (Action(kind, (name,), (("heard", heard),)) for heard in (True, False))
    elif kind == "start" and authority.mode == "down":
        others = [other for other in world.authorities.values() if other.disk == authority.disk and other.mode != "down"]
        # Where nobody asks, it cannot come to light that history was lost.
        for data in ("kept", "lost", "older") if world.askable else ("kept",):
            if data == "kept" or (not others and (data == "lost" or authority.disk in world.backups)):
                for heard in (True,) if world.lossless else (True, False):
                    for back in (False, True):
                        for low in (False, True):
                            yield Action(kind, (name, data), (("heard", heard), ("back", back), ("low", low)))


def walk(seed: int) -> None:
    """One world from its beginning to its end.

    Raises:
        Violation: a promise was broken; the text tells how to see it again.
    """
    draw = random.Random(seed)
    scope = Scope.drawn(draw)
    trace: list[Action] = []
    try:
        world = scope.world()
        budget, weights = dict(scope.budget), WEIGHTS | {kind: draw.choice((1, 1, 3)) for kind in FAULTS}
        for _ in range(draw.randrange(STEPS_MAX)):
            kinds = [kind for kind in weights if budget.get(kind, 1) > 0]
            (kind,) = draw.choices(kinds, [weights[kind] for kind in kinds])
            possible = list(actions(world, kind))
            if not possible:
                continue
            if kind in budget:
                budget[kind] -= 1
            action = draw.choice(possible)
            trace.append(action)
            getattr(world, action.method)(*action.arguments, **dict(action.options))
            world.check()
        settle(world, fate=scope.fate, lowest_first=scope.lowest_first, reasons_only=scope.reasons_only)
    except Exception as error:
        again = f"see it again with {SEED_VARIABLE}={seed}"
        raise Violation("\n".join([f"seed {seed}: {error!r}", str(scope), *map(str, trace), again])) from error


def first_violation(seeds: Iterable[int], fits: Callable[[Scope], bool]) -> Violation | None:
    """The first of the seeds whose world fits that breaks a promise."""
    for seed in seeds:
        if fits(Scope.drawn(random.Random(seed))):
            try:
                walk(seed)
            except Violation as violation:
                return violation
    return None
