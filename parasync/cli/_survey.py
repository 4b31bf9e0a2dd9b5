"""Who is there and how they do, as rows that `top` shows and `doctor` judges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs
import click

from parasync import Status
from parasync.errors import ParasyncError
from parasync.protocol import AuthorityStatus, Identity, ReplicaStatus, StatusQuery, check_topic
from parasync.transports._nats_status import Heard
from parasync.transports._wire_status import STATUS_SPREAD_S_MAX, STATUS_TOPICS_MAX
from parasync.transports.nats import NatsTransport

_WORST_FIRST: Final = (Status.SKEW, Status.STALE, Status.REFETCHING, Status.OK, Status.CLOSED)


@attrs.frozen
class Row:
    """One authority, or the replicas of one topic in one process."""

    who: Identity
    status: AuthorityStatus | ReplicaStatus

    @property
    def topic(self) -> str:
        """The topic."""
        return self.status.topic

    @property
    def role(self) -> str:
        """`authority`, or the kind of the replicas."""
        return "authority" if isinstance(self.status, AuthorityStatus) else self.status.kind

    @property
    def condition(self) -> str:
        """The worst status of the replicas, or what the authority does."""
        status = self.status
        if isinstance(status, AuthorityStatus):
            return "fenced" if not status.serving else "loading" if status.loading else "serving"
        return next((each.value for each in _WORST_FIRST if status.statuses.get(each.value)), Status.CLOSED.value)

    def facts(self) -> dict[str, Any]:
        """All that is known, for a program."""
        facts = {"role": self.role, "process": attrs.asdict(self.who), "condition": self.condition}
        return facts | {name: fact for name, fact in attrs.asdict(self.status).items() if name != "kind"}


def rows_of(heard: list[Heard]) -> list[Row]:
    """A row for all that was told of, by topic, authorities first."""
    rows = [Row(each.status.who, status) for each in heard for status in each.status.authorities]
    rows += [Row(each.status.who, status) for each in heard for status in each.status.replicas]
    return sorted(rows, key=lambda row: (row.topic, row.role != "authority", str(row.who)))


def left_out(heard: list[Heard]) -> int:
    """How much processes could not tell of."""
    return sum(each.status.left_out for each in heard)


async def survey(bus: NatsTransport, topics: tuple[str, ...], spread_s: float, timeout_s: float) -> list[Heard]:
    """Ask everybody.

    Raises:
        TransportError: the bus is not there, or a permission is missing.
    """
    return await bus.survey(StatusQuery(topics, spread_s), timeout_s + spread_s)


def checked_topics(_context: click.Context, _parameter: click.Parameter, topics: tuple[str, ...]) -> tuple[str, ...]:
    """Topics that were given as arguments."""
    return tuple(_checked(topics))


def _checked(topics: tuple[str, ...]) -> Iterator[str]:
    if len(topics) > STATUS_TOPICS_MAX:
        raise click.BadParameter(f"{len(topics)} topics are too many; at most {STATUS_TOPICS_MAX} are asked about at a time")
    for topic in topics:
        try:
            yield check_topic(topic)
        except ParasyncError as error:
            raise click.BadParameter(str(error)) from None


spread_option: Final = click.option(
    "--spread", "spread_s", type=click.FloatRange(0, STATUS_SPREAD_S_MAX), default=0.0, show_default=True, metavar="SECONDS",
    help="Let answers come within so many seconds, and not all at once: for a bus with thousands of processes.",
)  # fmt: skip
