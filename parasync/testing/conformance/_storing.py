"""Checks of what a store keeps, and for whom (clauses 1 to 7)."""

from __future__ import annotations

from typing import Final

from parasync.errors import ConflictError, DeletedError, FencedError, IdempotencyError
from parasync.protocol import ABSENT, Version
from parasync.stores import TopicState
from parasync.testing.conformance._run import Checks
from parasync.testing.conformance._shelf import EPOCH, KEY, TOPIC, Shelf, deletion, draft

check: Final[Checks[Shelf]] = Checks()


@check(1)
async def a_higher_epoch_takes_the_topic_over(shelf: Shelf) -> None:
    shelf.expect((await shelf.first.state(TOPIC)).epoch, 0)
    for handle, epoch in ((shelf.first, EPOCH), (shelf.second, EPOCH + 1), (shelf.first, EPOCH + 9)):
        shelf.expect((await handle.claim(TOPIC, epoch)).epoch, epoch)
        shelf.expect(((await shelf.first.state(TOPIC)).epoch, (await shelf.second.state(TOPIC)).epoch), (epoch, epoch))
    await shelf.write(draft(), epoch=EPOCH + 9)


@check(1)
async def an_epoch_that_is_not_higher_takes_nothing_over(shelf: Shelf) -> None:
    await shelf.claim()
    for epoch in (EPOCH, EPOCH - 1, 1):
        error = await shelf.unchanged(FencedError, shelf.second.claim(TOPIC, epoch))
        shelf.expect(error.epoch, EPOCH)
    await shelf.write(draft())


@check(2)
async def the_first_claim_begins_the_history_and_later_ones_go_on_with_it(shelf: Shelf) -> None:
    shelf.expect((await shelf.first.state(TOPIC)).history_epoch, 0)
    begins = [(await shelf.first.claim(TOPIC, EPOCH)).history_epoch, (await shelf.first.claim(TOPIC, EPOCH + 1)).history_epoch]
    await shelf.write(draft(), epoch=EPOCH + 1)
    begins.append((await shelf.second.state(TOPIC)).history_epoch)
    shelf.expect(begins, [EPOCH] * 3)


@check(2)
async def a_loss_of_history_is_noted_and_never_goes_back(shelf: Shelf) -> None:
    await shelf.claim()
    await shelf.claim(EPOCH + 1)
    lost = await shelf.first.history_lost(TOPIC, EPOCH + 1)
    shelf.expect((lost.epoch, lost.history_epoch), (EPOCH + 1, EPOCH + 1))
    shelf.expect(await shelf.second.state(TOPIC), lost)
    shelf.expect((await shelf.second.claim(TOPIC, EPOCH + 2)).history_epoch, EPOCH + 1)
    await shelf.write(draft(), epoch=EPOCH + 2)
    state = await shelf.first.state(TOPIC)
    shelf.expect((state.epoch, state.history_epoch), (EPOCH + 2, EPOCH + 1))
    await shelf.second.claim(TOPIC, EPOCH + 3, lost=True)
    shelf.expect((await shelf.first.state(TOPIC)).history_epoch, EPOCH + 3)


@check(3)
async def who_did_not_claim_last_cannot_write(shelf: Shelf) -> None:
    await shelf.claim()
    await shelf.write(draft(b"1"))
    await shelf.second.claim(TOPIC, EPOCH + 1)
    for epoch in (EPOCH, EPOCH + 2):
        for what in (draft(b"2"), deletion(), draft(b"3", key="t:b"), draft(b"4", expected=Version(EPOCH, 1))):
            error = await shelf.unchanged(FencedError, shelf.first.write(TOPIC, epoch, what), KEY, "t:b")
            shelf.expect(error.epoch, EPOCH + 1)
        error = await shelf.unchanged(FencedError, shelf.first.history_lost(TOPIC, epoch))
        shelf.expect(error.epoch, EPOCH + 1)


@check(3)
async def nobody_writes_to_what_was_never_claimed(shelf: Shelf) -> None:
    await shelf.unchanged(FencedError, shelf.first.write(TOPIC, EPOCH, draft()))
    await shelf.unchanged(FencedError, shelf.first.history_lost(TOPIC, EPOCH))
    shelf.expect(await shelf.first.state(TOPIC), TopicState())


@check(4)
async def sequences_count_up_through_deletions_and_epochs(shelf: Shelf) -> None:
    await shelf.claim()
    outcomes = [await shelf.write(draft(b"1")), await shelf.write(deletion()), await shelf.write(draft(b"2"))]
    outcomes += [await shelf.write(draft(b"2")), await shelf.write(draft(b"5", key="t:b"))]
    await shelf.claim(EPOCH + 1)
    outcomes += [await shelf.write(draft(b"3"), epoch=EPOCH + 1), await shelf.write(deletion(), epoch=EPOCH + 1)]
    written = [(EPOCH, 1), (EPOCH, 2), (EPOCH, 3), (EPOCH, 4), (EPOCH, 1), (EPOCH + 1, 5), (EPOCH + 1, 6)]
    shelf.expect([tuple(outcome.version) for outcome in outcomes], written)
    shelf.expect([outcome.fresh for outcome in outcomes], [True] * 7)


@check(5)
async def a_write_happens_at_the_expected_version_only(shelf: Shelf) -> None:
    await shelf.claim()
    await shelf.write(draft(b"1"))
    await shelf.write(draft(b"2"))
    for expected in (Version(EPOCH, 1), Version(EPOCH, 3), Version(EPOCH - 1, 2), ABSENT):
        for what in (draft(b"3", expected=expected), deletion(expected=expected)):
            error = await shelf.unchanged(ConflictError, shelf.first.write(TOPIC, EPOCH, what))
            shelf.expect(error.current, Version(EPOCH, 2))
    shelf.expect((await shelf.write(draft(b"3", expected=Version(EPOCH, 2)))).version, Version(EPOCH, 3))
    shelf.expect((await shelf.write(deletion(expected=Version(EPOCH, 3)))).version, Version(EPOCH, 4))


@check(5)
async def absent_is_what_never_was_or_was_deleted(shelf: Shelf) -> None:
    await shelf.claim()
    error = await shelf.unchanged(ConflictError, shelf.first.write(TOPIC, EPOCH, draft(expected=Version(EPOCH, 1))))
    shelf.expect(error.current, None)
    shelf.expect((await shelf.write(draft(expected=ABSENT))).version, Version(EPOCH, 1))
    await shelf.write(deletion())
    shelf.expect((await shelf.write(draft(expected=ABSENT))).version, Version(EPOCH, 3))
    await shelf.write(deletion())
    shelf.expect((await shelf.write(draft(expected=Version(EPOCH, 4)))).version, Version(EPOCH, 5))


@check(6)
async def what_does_not_exist_cannot_be_deleted(shelf: Shelf) -> None:
    await shelf.claim()
    await shelf.unchanged(DeletedError, shelf.first.write(TOPIC, EPOCH, deletion()))
    await shelf.write(draft())
    await shelf.write(deletion())
    await shelf.unchanged(DeletedError, shelf.first.write(TOPIC, EPOCH, deletion()))


@check(6)
async def the_end_of_what_does_not_exist_can_be_written_anew(shelf: Shelf) -> None:
    await shelf.claim()
    shelf.expect((await shelf.write(deletion(reissue=True, expected=ABSENT))).version, Version(EPOCH, 1))
    shelf.expect((await shelf.write(deletion(reissue=True))).version, Version(EPOCH, 2))


@check(7)
async def a_repeated_write_returns_its_first_outcome_and_changes_nothing(shelf: Shelf) -> None:
    await shelf.claim()
    first = (await shelf.write(draft(b"1", idempotency_key="put once"))).version
    await shelf.write(draft(b"2"))
    gone = (await shelf.write(deletion(idempotency_key="delete once"))).version
    last = (await shelf.write(draft(b"3"))).version
    again = [
        await shelf.write(draft(b"1", idempotency_key="put once")),
        await shelf.write(draft(b"1", idempotency_key="put once", expected=ABSENT)),
        await shelf.write(deletion(idempotency_key="delete once")),
    ]
    shelf.expect([tuple(outcome) for outcome in again], [(first, False), (first, False), (gone, False)])
    shelf.expect(await shelf.position(), last)
    await shelf.second.claim(TOPIC, EPOCH + 1)
    outcome = await shelf.second.write(TOPIC, EPOCH + 1, draft(b"1", idempotency_key="put once"))
    shelf.expect((tuple(outcome), await shelf.position()), ((first, False), last))


@check(7)
async def an_idempotency_key_is_good_for_one_content_of_one_object(shelf: Shelf) -> None:
    await shelf.claim()
    await shelf.write(draft(b"1", idempotency_key="once"))
    for other in (draft(b"2", idempotency_key="once"), deletion(idempotency_key="once")):
        await shelf.unchanged(IdempotencyError, shelf.first.write(TOPIC, EPOCH, other))
    shelf.expect(tuple(await shelf.write(draft(b"2", key="t:b", idempotency_key="once"))), (Version(EPOCH, 1), True))


@check(7)
async def a_write_that_failed_uses_up_no_idempotency_key(shelf: Shelf) -> None:
    await shelf.claim()
    await shelf.refused(
        ConflictError, shelf.write(draft(b"1", idempotency_key="once", expected=Version(EPOCH, 9)))
    )
    await shelf.refused(DeletedError, shelf.write(deletion(idempotency_key="once")))
    shelf.expect(tuple(await shelf.write(draft(b"2", idempotency_key="once"))), (Version(EPOCH, 1), True))
