"""A folder and what is published of it: compared step by step, without waiting for an operating system to tell."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parasync import ABSENT, Topic, Version, authority
from parasync.cli._asks import Asker
from parasync.cli._folder import SETTLED_S, VANISHED_GRACE_S, Folder, Told
from parasync.cli._writes import FolderWriter
from parasync.errors import ConflictError, DeletedError, NoAuthorityError, RefusedError
from parasync.protocol import Put
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport, PrefixedSubjects
from tests.cli.kit import DEADLINE_S

pytestmark = pytest.mark.nats


class World:
    """A folder that is served, and somebody who asks for its objects over another connection."""

    def __init__(self, root: Path, bus: NatsTransport, asker: Asker) -> None:
        self.root = root
        self.bus = bus
        self.asker = asker
        self.said: list[str] = []
        told = Told(
            lambda key, version, path, new: self.said.append(f"{'new' if new else 'changed'} {key} {version.sequence} {path}"),
            lambda key, version: self.said.append(f"deleted {key} {version.sequence}"),
            self.said.append,
        )
        self.folder = Folder(root, bus, schema="1.0", told=told, writer=FolderWriter)

    async def sync(self) -> list[str]:
        """Compare, and return what was told since the last time."""
        again = await self.folder.sync()
        loop = asyncio.get_running_loop()
        if again:
            # The clock of the loop has to pass the grace; nothing else is waited for.
            passed = asyncio.Event()
            loop.call_later(VANISHED_GRACE_S * 1.01, passed.set)
            await passed.wait()
            await self.folder.sync()
        # What was published, and where it is asked for, has reached the server.
        await self.bus.flush()
        said, self.said[:] = list(self.said), []
        return said

    async def value(self, key: str) -> object:
        return (await self.asker.fetch(key)).value

    def write(self, path: str, text: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)

    async def put(self, key: str, value: object, expected: Version | None = None, once: str | None = None) -> Version:
        body = Topic("any", object).encode(value, self.bus.codec)
        return await self.asker.write(Put(key, body, "1.0", expected, once))


@pytest.fixture
async def world(server: NatsServer, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    subjects = PrefixedSubjects(f"t{abs(hash(request.node.name))}")
    root = tmp_path / "root"
    root.mkdir()
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url, subjects=subjects) as bus,
        NatsTransport(server.url, subjects=subjects) as other,
    ):
        world = World(root, bus, Asker(other, 10.0))
        async with world.folder:
            yield world


async def test_files_are_objects(world: World) -> None:
    world.write("config/db.json", '{"a": 1}')
    world.write("config/eu/web.toml", "a = 2")
    world.write("limits.yaml", "[3]")
    said = await world.sync()
    assert said == ["new config:db 1 config/db.json", "new config:eu:web 1 config/eu/web.toml", "new limits 1 limits.yaml"]
    assert [await world.value(key) for key in ("config:db", "config:eu:web", "limits")] == [{"a": 1}, {"a": 2}, [3]]
    assert [key async for key, _ in world.asker.keys("config")] == ["config:db", "config:eu:web"]


async def test_only_what_changed_is_published(world: World) -> None:
    world.write("config/db.json", '{"a": 1}')
    world.write("config/other.json", "1")
    await world.sync()
    assert await world.sync() == []
    world.write("config/db.json", '{ "a" : 1 }')
    assert await world.sync() == [], "other text, the same value"
    world.write("config/db.json", '{"a": 2}')
    assert await world.sync() == ["changed config:db 2 config/db.json"]


async def test_a_change_within_the_same_tick_of_the_clock_is_seen(world: World) -> None:
    """Same size, same time, same inode: only reading it again tells."""
    world.write("config/db.json", "1")
    facts = (world.root / "config/db.json").stat()
    await world.sync()
    world.write("config/db.json", "2")
    os.utime(world.root / "config/db.json", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert await world.sync() == ["changed config:db 2 config/db.json"]


async def test_a_file_at_rest_is_not_read_again(world: World) -> None:
    path = world.root / "config/db.json"
    world.write("config/db.json", "1")
    long_ago_ns = path.stat().st_mtime_ns - int(10 * SETTLED_S * 1e9)
    os.utime(path, ns=(long_ago_ns, long_ago_ns))
    await world.sync()
    world.write("config/db.json", "2")
    os.utime(path, ns=(long_ago_ns, long_ago_ns))
    assert await world.sync() == [], "this would have been seen by reading"


async def test_what_does_not_parse_is_reported_once_and_the_last_good_version_stays(world: World) -> None:
    world.write("config/db.json", '{"a": 1}')
    await world.sync()
    world.write("config/db.json", '{"a":\n 1 x}')
    (complaint,) = await world.sync()
    assert complaint.startswith("config/db.json:2:4: ")
    assert complaint.endswith("(the last good version stays)")
    assert await world.value("config:db") == {"a": 1}
    assert await world.sync() == []
    world.write("config/db.json", b'"\xff"')
    assert await world.sync() == ["config/db.json:1:2: byte 0xff is not UTF-8 (the last good version stays)"]
    world.write("config/db.json", '{"a": 1}')
    assert await world.sync() == [], "good again, and as it was"
    world.write("config/db.json", "nonsense")
    assert len(await world.sync()) == 1, "a new mistake is told again"


async def test_what_cannot_be_published_is_reported(world: World) -> None:
    world.write("config/db.json", '"small"')
    await world.sync()
    world.write("config/db.json", '"' + "x" * 2_000_000 + '"')
    (complaint,) = await world.sync()
    assert "config/db.json: not published: got a value of 2000005 bytes" in complaint
    world.write("config/deep.yaml", "[" * 30 + "]" * 30)
    world.write("config/deeper.json", "[" * 40 + "]" * 40)
    said = await world.sync()
    assert said[0] == "new config:deep 1 config/deep.yaml"
    assert "config/deeper.json: not published: got" in said[1]
    assert await world.value("config:db") == "small"


async def test_a_file_that_never_was_good_hides_nothing_else(world: World) -> None:
    world.write("config/bad.json", "{")
    world.write("config/db.json", "1")
    said = await world.sync()
    assert said == ["config/bad.json:1:2: Expecting property name enclosed in double quotes", "new config:db 1 config/db.json"]
    with pytest.raises(DeletedError):
        await world.value("config:bad")
    (world.root / "config/bad.json").unlink()
    assert await world.sync() == []


async def test_a_file_that_is_gone_is_deleted_and_may_come_back(world: World) -> None:
    world.write("config/db.json", "1")
    await world.sync()
    (world.root / "config/db.json").unlink()
    assert await world.sync() == ["deleted config:db 2"]
    with pytest.raises(DeletedError):
        await world.value("config:db")
    world.write("config/db.json", "1")
    assert await world.sync() == ["new config:db 3 config/db.json"]


async def test_a_file_that_is_gone_for_a_moment_is_not_deleted(world: World) -> None:
    """Some editors move the old file away before they write the new one."""
    world.write("config/db.json", "1")
    await world.sync()
    (world.root / "config/db.json").rename(world.root / "config/db.json~")
    assert await world.folder.sync()
    world.write("config/db.json", "2")
    assert await world.sync() == ["changed config:db 2 config/db.json"]


async def test_of_two_files_for_one_key_the_first_counts(world: World) -> None:
    world.write("config/db.toml", "a = 1")
    await world.sync()
    world.write("config/db.json", "2")
    assert await world.sync() == ["config/db.json: 'config:db' is taken by config/db.toml; rename or remove one of them"]
    assert await world.sync() == []
    assert await world.value("config:db") == {"a": 1}
    (world.root / "config/db.toml").unlink()
    assert await world.sync() == ["changed config:db 2 config/db.json"]


async def test_of_two_that_are_there_from_the_start_the_first_by_name_counts(world: World) -> None:
    world.write("config/a:b.json", "1")
    world.write("config/a/b.json", "2")
    said = await world.sync()
    taken = "config/a:b.json: 'config:a:b' is taken by config/a/b.json; rename or remove one of them"
    assert sorted(said) == [taken, "new config:a:b 1 config/a/b.json"]


async def test_a_folder_that_is_not_there_deletes_nothing(world: World) -> None:
    world.write("config/db.json", "1")
    await world.sync()
    moved = world.root.rename(world.root.with_name("elsewhere"))
    (complaint,) = await world.sync()
    assert "cannot be read (No such file or directory); everything stays as it was" in complaint
    assert await world.value("config:db") == 1
    moved.rename(world.root)
    assert await world.sync() == []
    shutil.rmtree(world.root / "config")
    assert await world.sync() == ["deleted config:db 2"]


async def test_a_topic_may_appear_later(world: World) -> None:
    await world.sync()
    with pytest.raises(NoAuthorityError):
        await world.value("later:x")
    world.write("later/x.json", "1")
    await world.sync()
    assert await world.value("later:x") == 1


async def test_what_another_authority_owns_is_tried_again(world: World, server: NatsServer) -> None:
    world.write("config/db.json", "1")
    await world.sync()
    async with authority(Topic("config", object), world.asker.bus) as usurper:
        await usurper.put("db", "theirs")
        while world.folder.owners["config"].serving:  # noqa: ASYNC110 -- what is waited for is no event of ours
            await asyncio.sleep(0)
        long_ago_ns = 10**18
        world.write("config/db.json", "2")
        os.utime(world.root / "config/db.json", ns=(long_ago_ns, long_ago_ns))
        (complaint,) = await world.sync()
        assert complaint.startswith("config/db.json: not published: another authority took 'config' over")
        assert await world.value("config:db") == "theirs"
        assert await world.sync() == []
    assert world.folder.entries["config:db"].signature is None, "read again each time, until it could be published"


async def test_a_put_changes_the_file_in_its_format(world: World) -> None:
    world.write("config/db.json", '{"a":1}')
    world.write("config/web.toml", "a = 1")
    world.write("config/app.yml", "a: 1")
    (world.root / "config/db.json").chmod(0o640)
    await world.sync()
    for key in ("db", "web", "app"):
        version = await world.put(f"config:{key}", {"a": 2})
        assert version.sequence == 2
        assert await world.value(f"config:{key}") == {"a": 2}
    texts = [(world.root / "config" / name).read_text() for name in ("db.json", "web.toml", "app.yml")]
    assert texts == ['{\n  "a": 2\n}\n', "a = 2\n", "a: 2\n"]
    assert (world.root / "config/db.json").stat().st_mode & 0o777 == 0o640
    assert [line.split()[0] for line in await world.sync()] == ["changed"] * 3, "told once, published once"
    assert sorted(path.name for path in (world.root / "config").iterdir()) == ["app.yml", "db.json", "web.toml"]


async def test_a_put_of_a_new_object_makes_a_file(world: World) -> None:
    world.write("config/db.json", "1")
    await world.sync()
    assert (await world.put("config:eu:west:db", [1], expected=ABSENT)).sequence == 1
    assert (world.root / "config/eu/west/db.json").read_text() == "[\n  1\n]\n"
    assert await world.put("config", 5)
    assert (world.root / "config.json").read_text() == "5\n"
    assert await world.value("config") == 5


@pytest.mark.parametrize("key", ["config:../out", "config:..:out", "config:.hidden", "config:a/b", "config:a:"])
async def test_a_put_never_leaves_the_folder(world: World, key: str) -> None:
    world.write("config/db.json", "1")
    await world.sync()
    with pytest.raises(RefusedError, match="no file name"):
        await world.put(key, 1)
    assert [path.name for path in world.root.parent.iterdir()] == ["root"]
    assert [path.name for path in (world.root / "config").iterdir()] == ["db.json"]


async def test_a_put_does_not_follow_links(world: World) -> None:
    outside = world.root.parent / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text('"mine"')
    (world.root / "config").mkdir()
    (world.root / "config" / "linked.json").symlink_to(outside / "secret.json")
    (world.root / "config" / "dir").symlink_to(outside)
    await world.sync()
    assert await world.value("config:linked") == "mine"
    for key in ("config:linked", "config:dir:secret", "config:dir:new"):
        with pytest.raises(RefusedError, match="symbolic link"):
            await world.put(key, "yours")
    assert (outside / "secret.json").read_text() == '"mine"'
    assert [path.name for path in outside.iterdir()] == ["secret.json"]


async def test_a_put_compares_before_it_touches_the_file(world: World) -> None:
    world.write("config/db.json", "1")
    await world.sync()
    version = await world.put("config:db", 2)
    with pytest.raises(ConflictError) as conflict:
        await world.put("config:db", 3, expected=Version(1, 1))
    assert conflict.value.current == version
    with pytest.raises(ConflictError):
        await world.put("config:db", 3, expected=ABSENT)
    assert (world.root / "config/db.json").read_text() == "2\n"
    assert (await world.put("config:db", 3, expected=version)).sequence == 3


async def test_what_an_editor_has_just_written_is_not_overwritten_unseen(world: World) -> None:
    world.write("config/db.json", "1")
    await world.sync()
    version = (await world.asker.fetch("config:db")).version
    world.write("config/db.json", '"edited"')
    with pytest.raises(ConflictError):
        await world.put("config:db", "put", expected=version)
    assert await world.value("config:db") == "edited"


async def test_a_put_that_cannot_be_kept_exactly_changes_nothing(world: World) -> None:
    world.write("config/web.toml", "a = 1")
    await world.sync()
    for value in ([1], {"a": None}, {"a": (1, 2)}):
        with pytest.raises(RefusedError, match="cannot hold exactly"):
            await world.put("config:web", value)
    assert (world.root / "config/web.toml").read_text() == "a = 1"
    assert await world.value("config:web") == {"a": 1}


async def test_a_put_that_is_repeated_happens_once(world: World) -> None:
    world.write("config/db.json", "1")
    await world.sync()
    version = await world.put("config:db", 2, once="k")
    world.write("config/db.json", "3")
    assert await world.put("config:db", 2, once="k") == version
    assert (world.root / "config/db.json").read_text() == "3"
    with pytest.raises(RefusedError, match="used for another value"):
        await world.put("config:db", 4, once="k")


async def test_a_put_onto_a_file_that_was_never_good_mends_it(world: World) -> None:
    world.write("config/db.json", "{")
    await world.sync()
    assert (await world.put("config:db", 1)).sequence == 1
    assert (world.root / "config/db.json").read_text() == "1\n"


async def test_a_delete_removes_the_file(world: World) -> None:
    world.write("config/db.json", "1")
    world.write("config/other.json", "1")
    await world.sync()
    assert (await world.asker.write(Put("config:db", None, "1.0"))).sequence == 2
    assert not (world.root / "config/db.json").exists()
    assert await world.sync() == ["deleted config:db 2"]
    with pytest.raises(DeletedError):
        await world.asker.write(Put("config:db", None, "1.0"))


async def test_a_delete_of_what_two_files_claim_is_refused(world: World) -> None:
    world.write("config/db.json", "1")
    world.write("config/db.toml", "a = 1")
    await world.sync()
    with pytest.raises(RefusedError, match=r"claimed by several files \(config/db.json, config/db.toml\)"):
        await world.asker.write(Put("config:db", None, "1.0"))
    assert await world.value("config:db") == 1


async def test_a_file_system_that_is_full_or_read_only_is_a_refusal(world: World) -> None:
    world.write("config/db.json", "1")
    (world.root / "config/in-the-way.json.d").mkdir()
    await world.sync()
    with pytest.raises(RefusedError, match=r"cannot be written \(File name too long\)"):
        await world.put("config:" + "x" * 252, 1)
    world.write("config/file", "")
    with pytest.raises(RefusedError, match=r"cannot be written \((File exists|Not a directory)\)"):
        await world.put("config:file:x", 1)
