"""What comes of an ask: an answer that may be used, one that may not, or a failure."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from parasync.errors import ParasyncError
from parasync.protocol import Asked, Envelope, Same, Unanswered
from parasync.runtime._group import Group
from parasync.runtime._member import History, Member
from parasync.runtime._sources import Fetched, check_envelope
from parasync.transports._fanout import report


def judge(member: Member[Any], group: Group, asked: Asked, found: Fetched, asked_s: float) -> None:
    """Let a replica take what was fetched for it. What cannot be used counts as a failure, and raises nothing."""
    reason = ""
    try:
        if found.epoch < member.current_epoch:
            reason = "the answer came from an authority that was deposed"
        elif isinstance(found.outcome, Unanswered) and found.outcome.reason:
            reason = f"the answer could not be read: {found.outcome.reason}"
        elif _goes_back(asked, found):
            reason = "the answer is older than what was held when it was asked for"
        else:
            member.history = History(found.epoch, found.history_epoch)
            envelope = found.outcome if isinstance(found.outcome, Envelope) else None
            if envelope is not None:
                check_envelope(envelope, "the authority")
            group.step(member, partial(_answered, member, asked, found, asked_s), envelope, "answer")
    except Exception as error:  # noqa: BLE001  # it came from elsewhere, and harms its own replica only
        reason = f"the answer could not be used: {type(error).__name__}"
        report("an answer for", member.key, error)
    if reason:
        group.step(member, partial(failed, member, reason), None, "answer")


def failed(member: Member[Any], reason: str, _reading: object) -> bool:
    """A rule for `Group.step`: the ask failed."""
    member.ask_failed(reason)
    return False


def reason_of_failure(error: BaseException, timeout_s: float) -> str:
    """Why an ask failed, in words without payload text."""
    if isinstance(error, ParasyncError) and str(error):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, asyncio.CancelledError):
        return "the ask was cancelled"
    return f"the ask failed with {type(error).__name__}"


def _goes_back(asked: Asked, found: Fetched) -> bool:
    """Whether the answer is below the position that it was asked with: its author lost history, or lags behind.

    An authority writes such objects anew before it answers, so this is what a `refetch` of the user says.
    """
    if asked.position is None or isinstance(found.outcome, Same | Unanswered):
        return False
    answered = found.outcome.version if isinstance(found.outcome, Envelope) else found.floor
    return answered < asked.position.version


def _answered(member: Member[Any], asked: Asked, found: Fetched, asked_s: float, reading: object) -> bool | None:
    return member.answer_received(
        asked,
        found.outcome,
        reading,
        epoch=found.epoch,
        beat=found.beat,
        uptime_s=found.uptime_s,
        floor=found.floor,
        asked_s=asked_s,
    )
