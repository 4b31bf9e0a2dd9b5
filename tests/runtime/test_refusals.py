"""What an authority keeps of the reports that it gets: bounded, forgotten, and said in few lines."""

from __future__ import annotations

import logging

import pytest

from parasync.protocol import Identity, Noted, Refusing, Report
from parasync.runtime._refusals import FORGET_AFTER_S, REPORTERS_MAX, Refusals
from parasync.runtime._reports import REPORT_INTERVAL_S

WALL_S = 1_000_000.0
SKEW = Refusing("2.0", "SchemaSkewError", 3)


def who(number: int = 1) -> Identity:
    return Identity("host", "program", number, "0.1.0")


class Kept:
    """Refusals with a clock of their own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.refusals = Refusals("user", lambda: self.now_s, lambda: WALL_S + self.now_s)

    def report(self, *refusals: Refusing, sender: str = "one", number: int = 1) -> None:
        assert self.refusals.note(Report(sender, who(number), "1.0", refusals)) == Noted()

    def keys(self) -> list[int]:
        return [each.keys for each in self.refusals.reported()]


def test_a_report_takes_the_place_of_an_earlier_one_and_keeps_its_beginning() -> None:
    kept = Kept()
    kept.report(SKEW)
    kept.now_s = 5.0
    kept.report(Refusing("2.0", "SchemaSkewError", 9), Refusing("1.0", "ParseError", 1))
    assert [(each.keys, each.since, each.who) for each in kept.refusals.reported()] == [
        (9, WALL_S, who()),
        (1, WALL_S + 5.0, who()),
    ]
    kept.report()
    assert kept.keys() == []


def test_what_is_not_repeated_is_forgotten() -> None:
    kept = Kept()
    kept.report(SKEW)
    kept.now_s = FORGET_AFTER_S
    assert kept.keys() == [3]
    kept.now_s += 0.001
    assert kept.keys() == []


def test_no_more_than_so_many_are_kept() -> None:
    kept = Kept()
    for number in range(REPORTERS_MAX + 5):
        kept.report(SKEW, sender=str(number), number=number)
    assert len(kept.keys()) == REPORTERS_MAX
    kept.report(sender="0")
    kept.report(SKEW, sender="new")
    assert len(kept.keys()) == REPORTERS_MAX


def test_the_log_tells_of_many_in_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    with caplog.at_level(logging.WARNING, "parasync"):
        for number in range(100):
            kept.report(SKEW, sender=str(number), number=number)
        [record] = caplog.records
        assert record.message == (
            "1 of those who read 'user' refuse it, e.g. program[0]@host: 3 objects of schema 2.0 (SchemaSkewError), "
            "while it takes 1.0"
        )
        kept.now_s = REPORT_INTERVAL_S
        kept.report(SKEW, sender="1", number=1)
        assert caplog.records[1].message.startswith("100 of those")
        kept.now_s *= 2
        kept.report(SKEW, sender="1", number=1)
        assert len(caplog.records) == 2, "it is no news any more"
