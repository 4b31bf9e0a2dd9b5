"""What is followed, what is left out, and how it is drawn: in process, so that every step is the test's own."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rich.console import Console

from parasync import Envelope, InProcessTransport, Kind, Topic, authority
from parasync.cli._asks import MAJORS
from parasync.cli._board import board, json_line, line
from parasync.cli._follow import Event, Follower
from tests.cli.kit import DEADLINE_S

THINGS = Topic("thing", object, version="3.1")


class World:
    def __init__(self, bus: InProcessTransport, owner: authority[Any]) -> None:
        self.bus = bus
        self.owner = owner
        self.now_s = 0.0

    def follower(self, key: str, prefix: str | None = None, **limits: int) -> Follower:
        return Follower(self.bus, key, prefix, lambda: self.now_s, **limits)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with asyncio.timeout(DEADLINE_S), InProcessTransport() as bus, authority(THINGS, bus) as owner:
        yield World(bus, owner)


@asynccontextmanager
async def following(follower: Follower, *keys: str) -> AsyncIterator[Follower]:
    """A follower that has a first value of these."""
    async with follower:
        await until(follower, lambda: all(key in follower.rows and follower.rows[key].replica.version for key in keys))
        yield follower


async def until(follower: Follower, happened: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not happened():
            follower.look()
            await asyncio.sleep(0)


def texts(follower: Follower) -> list[str]:
    said = [line(event) for event in follower.events]
    follower.events.clear()
    return said


def drawn(world: World, follower: Follower, width: int = 80, height: int = 24) -> list[str]:
    console = Console(record=True, width=width, height=height, file=io.StringIO())
    console.print(board(follower, "thing:*", console, world.now_s))
    return [text.rstrip() for text in console.export_text().splitlines()]


async def test_a_pattern_follows_what_matches_now_and_later(world: World) -> None:
    for ident in ("eu:a", "us:a", None):
        await world.owner.put(ident, ident)
    async with following(world.follower("thing", "eu:"), "thing:eu:a") as follower:
        await world.owner.put("eu:b", 2)
        await world.owner.put("us:b", 3)
        await until(follower, lambda: "thing:eu:b" in follower.rows)
        assert sorted(follower.rows) == ["thing:eu:a", "thing:eu:b"]
    assert world.bus.key_count() == 0, "nothing is left subscribed"


async def test_events_tell_values_deletions_and_what_a_replica_says(world: World) -> None:
    await world.owner.put("a", {"n": 1})
    async with following(world.follower("thing:a"), "thing:a") as follower:
        texts(follower)
        await world.owner.put("a", "two\x1b")
        version = await world.owner.delete("a")
        value, deleted = follower.events
        assert line(value).startswith("value    thing:a ")
        assert line(value).endswith('"two\\u001b"')
        assert json.loads(json_line(value))["value"] == "two\x1b"
        assert line(deleted) == f"deleted  thing:a {version}"
        assert "value" not in json.loads(json_line(deleted))
        row = follower.rows["thing:a"]
        said = json.loads(json_line(Event("status", row)))
        assert (said["status"], said["reason"], said["age_s"]) == ("ok", "", 0.0)


async def test_a_key_without_an_object_is_absent_until_there_is_one(world: World) -> None:
    async with world.follower("thing:none") as follower:
        await until(follower, lambda: "absent   thing:none" in [line(event) for event in follower.events])
        assert any("does not exist" in text for text in drawn(world, follower))
        await world.owner.put("none", 1)
        await until(follower, lambda: not follower.rows["thing:none"].absent)
        assert any(text.endswith(" 1") for text in drawn(world, follower))


async def test_a_narrow_window_shows_values_rather_than_numbers(world: World) -> None:
    for ident in "abcdefghij":
        await world.owner.put(ident, f"value of {ident}")
    async with following(world.follower("thing", ""), "thing:a") as follower:
        await until(follower, lambda: len(follower.rows) == 10)
        lines = drawn(world, follower, 40, 10)
        assert next(text.split() for text in lines if text.startswith("thing:a")) == ["thing:a", "ok", '"value', "of", 'a"']
        assert len(lines) <= 10
        assert "more: a taller" in lines[-1]


async def test_every_schema_is_shown(world: World) -> None:
    async with following(world.follower("thing:x")) as follower:
        for sequence, schema in enumerate(("3.1", "4.0", "0.9", f"{MAJORS - 1}.0"), 1):
            world.bus.publish("thing:x", Envelope(schema, schema, sequence, world.owner.epoch))
            assert follower.rows["thing:x"].replica.peek() == schema


async def test_more_objects_than_may_be_followed_are_counted(world: World) -> None:
    for ident in "abc":
        await world.owner.put(ident, ident)
    async with following(world.follower("thing", "", followed_max=2), "thing:a", "thing:b") as follower:
        await until(follower, lambda: follower.left_out)
        assert "… and at least 1 that are not followed" in drawn(world, follower)
        # A deleted one makes room.
        await world.owner.delete("a")
        await world.owner.put("d", "d")
        await until(follower, lambda: "thing:d" in follower.rows)
        assert "thing:a" not in follower.rows


async def test_a_reader_that_is_too_slow_is_told_how_much_it_missed(world: World) -> None:
    await world.owner.put("a", 0)
    async with following(world.follower("thing:a", events_max=3), "thing:a") as follower:
        follower.events.clear()
        for number in range(5):
            await world.owner.put("a", number)
        assert follower.dropped == 2
        assert [event.change.new for event in follower.events if event.change] == [2, 3, 4]


async def test_a_tombstone_of_what_nobody_follows_is_no_news(world: World) -> None:
    async with following(world.follower("thing", "")) as follower:
        world.bus.publish("thing:gone", Envelope(None, "3.1", 5, world.owner.epoch, kind=Kind.TOMBSTONE))
        assert follower.rows == {}
        assert "no object yet" in drawn(world, follower)


@pytest.mark.parametrize("width", [80, 120, 200])
async def test_the_table_keeps_its_columns_however_long_a_value_is(world: World, width: int) -> None:
    await world.owner.put("a", {"text": "x" * 1000, "more": "[red]not a colour[/red]"})
    await world.owner.put("b" * 100, 1)
    await world.owner.put("a", {"text": "[red]y" + "x" * 1000})
    async with following(world.follower("thing", ""), "thing:a", "thing:" + "b" * 100) as follower:
        lines = drawn(world, follower, width)
    assert all(len(text) <= width for text in lines)
    assert lines[2].split() == ["key", "version", "age", "status", "changes", "value"]
    assert lines[3].split()[2:5] == ["0.0s", "ok", "1"]
    assert '{"text"' in lines[3]
    assert width < 200 or '{"text": "[red]yxx' in lines[3]
    assert lines[3].endswith("…")


async def test_a_screen_too_small_says_so(world: World) -> None:
    for number in range(30):
        await world.owner.put(f"{number:02}", number)
    async with following(world.follower("thing", ""), *(f"thing:{number:02}" for number in range(30))) as follower:
        lines = drawn(world, follower, height=16)
    assert len(lines) <= 16
    assert "… and 20 more: a taller window shows them" in lines


async def test_why_nothing_is_listed_is_shown(world: World) -> None:
    async with world.follower("nobody", "") as follower:
        await until(follower, lambda: follower.problem)
        assert any("nobody serves" in text for text in drawn(world, follower))
