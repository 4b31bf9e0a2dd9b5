"""A bus in process that may lose, as it says, so that authorities beat over it: it loses what the test wants."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from parasync import Capabilities, Envelope, InProcessTransport
from parasync.protocol import Beat, Request, Response
from parasync.transports import BeatHandler, BeatMaker, Unsubscribe


class BeatingTransport(InProcessTransport):
    """Delivers at once; `lost` are the keys whose envelopes do not pass, `unsent` those of which something is said to wait."""

    capabilities = Capabilities(lossless=False, ordered=True, threads=True, ask=True, beats=True)

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()
        self.unsent: set[str] = set()
        self.silent = False
        self.beats: list[Beat] = []
        """All that were made."""
        self.listeners = 0
        self.asks: list[Request] = []

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        if key not in self.lost:
            super().publish(key, envelope)

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        def made(_: Collection[str]) -> Beat | None:
            beat = make(self.unsent)
            if beat is not None:
                self.beats.append(beat)
            return None if self.silent else beat

        super().publish_beat(topic, made)

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        end = super().subscribe_beats(topic, handler)
        self.listeners += 1

        def ended() -> None:
            self.listeners -= 1
            end()

        return ended

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        self.asks.append(request)
        return await super().ask(topic, request, timeout_s)

    def say(self, topic: str, beat: Beat) -> None:
        """A beat of nobody, or one that comes again."""
        super().publish_beat(topic, lambda _: beat)
