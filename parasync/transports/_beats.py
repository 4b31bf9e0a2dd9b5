"""Who listens to the beats of which topic, apart from those who listen to its objects."""

from __future__ import annotations

from collections.abc import Callable

from parasync.errors import ClosedError
from parasync.protocol import Beat, check_topic
from parasync.transports._fanout import Fanout
from parasync.transports._protocol import BeatHandler, Unsubscribe


class Beats:
    """Delivers beats to the local subscribers of their topic. Every method may be called from any thread.

    Args:
        emptied: called with the topic after its last subscriber left, as by `Fanout`.
    """

    def __init__(self, emptied: Callable[[str], None] | None = None) -> None:
        # To a fan-out a topic without an id is a key like any other, and whatever it carries an envelope.
        self._fanout = Fanout(None if emptied is None else lambda topic, _: emptied(topic))
        self._stopped = False

    def check(self, topic: str) -> None:
        """Refuse what cannot be published.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
        """
        check_topic(topic)
        if self._stopped:
            raise ClosedError("got a beat on a closed transport, expected an open one")

    def subscribe(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        """Call `handler` with every beat of the topic from now on.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: the handler is not a plain function.
        """
        return self._fanout.subscribe(check_topic(topic), handler)  # type: ignore[arg-type]  # as above

    def listens(self, topic: str) -> bool:
        """Whether anybody listens to the beats of the topic."""
        return topic in self._fanout.keys

    def deliver(self, topic: str, beat: Beat) -> None:
        """Give a beat to everybody who listens to those of the topic."""
        targets = self._fanout.keys.get(topic, ())
        if targets:
            self._fanout.deliver(targets, topic, beat)

    def stop(self) -> None:
        """End all subscriptions at once and for good."""
        self._stopped = True
        self._fanout.stop()
