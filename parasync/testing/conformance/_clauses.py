"""The clauses of the two contracts, word for word as they stand where the contracts are defined."""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class Clause:
    """One promise of a contract: its number there, and what it demands."""

    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.number}. {self.text}"


def _numbered(*texts: str) -> dict[int, Clause]:
    return {number: Clause(number, text) for number, text in enumerate(texts, 1)}


TRANSPORT_CLAUSES: Final = _numbered(
    "`publish` delivers once to every current subscriber of the key, in the order of subscription; to nobody, it does "
    "nothing.",
    "A subscriber gets all that is published after it subscribed, and nothing older; nothing is validated or "
    "deduplicated.",
    "The order of one publisher is kept for each key. What a handler publishes is delivered after that, to everyone.",
    "`unsubscribe` is idempotent and takes effect at once, also in the middle of a delivery; a call that another thread "
    "began may finish. The same handler subscribed twice is two subscriptions, and each ends alone.",
    "A handler that raises, `CancelledError` included, is reported and skipped; the others are served.",
    "`key_count()` is the number of keys with a live subscriber.",
    "`interrupted(reason)` is called in order with the envelopes whenever some may have been lost or could not be "
    "decoded, and once more when the transport is closed.",
    "`subscribe_topic` delivers all objects of a topic, with a pattern at least those of the pattern, in one order.",
    "An envelope arrives as it was published; only its `after` may be lower, where older ones of its key were left out on "
    "purpose.",
    "Keys stay apart whatever they are made of. What is no key, no topic or no plain function is refused and leaves no "
    "trace.",
    "Once a transport was closed, its functions raise `ClosedError` and no handler is called any more.",
    "A transport that claims to be `lossless` delivers every envelope before `publish` returns.",
    "The plain functions of one that claims `threads` may be called from any thread, and without an event loop.",
    "A request reaches one of those who serve the topic, once, and the response reaches its asker; both arrive as they "
    "were sent.",
    "Where nobody serves the topic, to ask is a `NoAuthorityError`; serving ends at once, and ending it again does "
    "nothing.",
    "An error of parasync in a responder is answered as a `Refusal`; any other failure is a `TransportError` without its "
    "text.",
    "Without an answer in time, to ask is an `AskTimeoutError`. An asker who waits no more does not stop the responder.",
    "What an end asks after it subscribed is answered after the subscription took effect.",
    "A probe reaches everybody who answers probes of the topic; who has nothing to say, or raises, is left out of the "
    "replies.",
    "What was spawned, and asks that are under way, end with the transport at the latest.",
    "A beat reaches all who subscribed to those of its topic, as it was made; what they do and where they end is as above.",
    "A beat is made when it is sent: everything that was published before and is not named as waiting was sent before it.",
)
STORE_CLAUSES: Final = _numbered(
    "`claim` makes an epoch above the stored one the only one that may write; any other is a `FencedError` and changes "
    "nothing.",
    "The first claim begins the history. Only `history_lost`, and a claim that says so, move its beginning, to the epoch that "
    "calls; no state goes back.",
    "What an epoch other than the claimed one writes or notes is a `FencedError` with the stored one, and changes "
    "nothing.",
    "Each write gives its object the next sequence, from 1, in the epoch that writes: across deletions and epochs too.",
    "With `expected`, a write happens only at that version, with `ABSENT` only where nothing exists; else it is a "
    "`ConflictError` that says where the object is, and changes nothing.",
    "To delete what does not exist is a `DeletedError` and changes nothing, unless it is a `reissue`. A delete is a "
    "version.",
    "A write that repeats the idempotency key and the content of one that was made for this object returns the first "
    "outcome and changes nothing; another content is an `IdempotencyError`. A write that failed uses up no key.",
    "`read` returns what was written, tombstones included, nothing for what was never written, and the state at the same "
    "moment.",
    "`page` lists the live objects with the prefix, each once, above `after`, in the order of code points, up to `limit`.",
    "Topics do not touch.",
    "Each method is one transaction, whoever else uses the store at the same time.",
    "When a write is cancelled, it has happened or never will.",
    "`positions` tells where all objects stand, tombstones too: each once, above `after`, in the order of `page`, up to "
    "`limit`.",
    "`raise_floor` drops the tombstones written before a moment, and all others at or below the newest of these, to which the "
    "floor rises; nothing else changes. No version comes again: in the epoch of the floor, what begins or ends is put above "
    "it.",
)
