"""What processes say of themselves is data; a process has a name for people."""

from __future__ import annotations

from parasync.protocol import Identity, Report, StatusQuery


def test_a_process_has_a_short_name() -> None:
    assert str(Identity("host", "shop.py", 7, "0.1.0")) == "shop.py[7]@host"


def test_a_question_is_about_everything_and_at_once_if_nothing_else_is_said() -> None:
    assert StatusQuery() == StatusQuery((), 0.0)
    assert Report.verb == "report"
