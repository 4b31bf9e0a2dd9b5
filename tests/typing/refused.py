"""What a type checker must refuse. This file is never run; the lines with an error are marked, and no other has one."""

from __future__ import annotations

import attrs

from parasync import Change, InProcessTransport, MemoryStore, MirrorSnapshot, Topic, authority, mirror, synced
from parasync.testing import check_store, check_transport


@attrs.frozen
class User:
    id: int
    name: str


USERS = Topic("user", User, version="2.1")


async def a_wrong_type_at_put(owner: authority[User]) -> None:
    await owner.put("123", "Ada")  # expect
    await owner.put("123", {"id": 123, "name": "Ada"})  # expect
    await owner.put(123, User(123, "Ada"))  # expect
    await owner.put("123", User(123, "Ada"), expected=7)  # expect
    await owner.update("123", lambda user: user.name)  # expect


def a_wrong_use_of_a_value(ada: synced[User]) -> None:
    number: int = ada.value  # expect
    print(ada.value.nmae)  # expect
    print(ada.peek().name)  # expect
    ada.value = User(1, "Eve")  # expect
    del number


def a_wrong_listener(ada: synced[User]) -> None:
    def listener(change: Change[int]) -> None:
        print(change)

    ada.subscribe(listener)  # expect


def a_topic_instead_of_a_ref() -> None:
    synced(USERS, InProcessTransport())  # expect
    synced(USERS["123"], "nats://127.0.0.1:4222")  # expect
    synced(USERS["123"], InProcessTransport(), gap="ignore")  # expect


def a_wrong_use_of_a_mirror(users: mirror[User], saved: MirrorSnapshot[int]) -> None:
    users["123"] = User(1, "Eve")  # expect
    print(users[123])  # expect
    print(users["123"].nmae)  # expect
    users.index(lambda user: user.nmae)  # expect
    mirror(USERS["123"], InProcessTransport())  # expect
    mirror(USERS, InProcessTransport(), warm=saved)  # expect


def a_wrong_default(ada: synced[User]) -> None:
    other: synced[int] = ada  # expect
    del other


async def what_is_no_bus_and_no_store() -> None:
    await check_transport(MemoryStore)  # expect
    await check_store(InProcessTransport)  # expect
    await check_transport(InProcessTransport())  # expect
