"""The object of all benchmarks: seven fields, one of them nested, one a list of texts, about 100 bytes encoded."""

from __future__ import annotations

from functools import lru_cache

import attrs

from parasync import MsgpackCodec, Topic


@attrs.frozen
class Address:
    """Where something goes."""

    street: str
    town: str


@attrs.frozen
class Order:
    """Something that was ordered."""

    number: int
    customer: str
    total: float
    paid: bool
    grams: int
    address: Address
    tags: list[str]


ORDERS = Topic("order", Order, version="1.0")
CODEC = MsgpackCodec(fast=False)
"""msgpack and cattrs: what is installed without extras."""
FAST_CODEC = MsgpackCodec(fast=True)
"""msgspec: what the extra `fast` adds."""


def order(number: int) -> Order:
    """A different order for each number."""
    paid, grams, address = number % 2 == 0, 500 + number % 100, _address(number % 7)
    return Order(number, f"Ada {number}", number / 4, paid, grams, address, ["new", "gift"])


@lru_cache
def orders(count: int) -> tuple[Order, ...]:
    """The orders 0 to `count`, each made once."""
    return tuple(order(number) for number in range(count))


@lru_cache
def bodies(count: int) -> tuple[bytes, ...]:
    """The same orders, encoded: what peers without a codec of their own carry."""
    return tuple(bytes(ORDERS.encode(each, CODEC)) for each in orders(count))


@lru_cache
def _address(number: int) -> Address:
    return Address(f"{number} High St", "York")
