"""What the demonstration knows of its processes while it runs: from what they say, for the eyes and for its own timing.

The verdict does not look here; it reads the books.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs

from parasync.cli.demo._contract import KEYS, LOAD
from parasync.cli.demo._records import Place, now_s

_LOG_LINES_MAX: Final = 8
"""How many lines of what happened stand below the table."""

_WORST: Final = ("skew", "stale", "refetching", "closed", "ok")


@attrs.define
class Copy:
    """One replica process, as it told last.

    Args:
        name: `replica 1`.
        state: `starting`, `running` or `gone`.
        replicas: what it said of each of its replicas.
        said: the statuses that each of them has told since `forget`.
        news: gets a line whenever it says something else than before.
    """

    name: str
    state: str = "starting"
    replicas: dict[str, dict[str, Any]] = attrs.Factory(dict)
    said: dict[str, set[str]] = attrs.Factory(dict)
    news: Callable[[str], None] = lambda _: None
    last_news: str = ""

    def heard(self, facts: dict[str, Any]) -> None:
        """It told something."""
        self.state = "running"
        self.replicas = facts["replicas"]
        for key, replica in self.replicas.items():
            self.said.setdefault(key, set()).add(replica["status"])
        self._tell_news()

    def _tell_news(self) -> None:
        """To ask now and then is no news, nor is what it says before it has anything to show."""
        status = self.status
        if status in ("-", "refetching", self.last_news) or (not self.last_news and status != "ok"):
            return
        self.last_news = status
        reason = f": {self.reason}" if self.reason else ""
        self.news(f"{self.name} says {status.upper()}{reason}")

    @property
    def status(self) -> str:
        """The worst of what it says of its replicas."""
        found = {replica["status"] for replica in self.replicas.values()}
        return next((status for status in _WORST if status in found), "-")

    @property
    def reason(self) -> str:
        """Why its status is what it is."""
        status = self.status
        return next((each["reason"] for each in self.replicas.values() if each["status"] == status), "")

    def place(self, key: str) -> Place | None:
        """Where it stands with an object."""
        place = self.replicas.get(key, {}).get("place")
        return None if place is None else (place[0], place[1])

    def count(self, name: str) -> int:
        """A counter, summed over its replicas."""
        return sum(int(replica["stats"][name]) for replica in self.replicas.values())

    def forget(self) -> None:
        """Start anew to collect what it says."""
        self.said = {}

    def has_said(self, status: str, keys: tuple[str, ...] = KEYS) -> bool:
        """Whether each of these replicas has told this status since then."""
        return all(status in self.said.get(key, ()) for key in keys)


@attrs.define
class Scene:
    """Everything that is shown.

    Args:
        copies: the replica processes.
        newest: where the authority stands with each object.
        final: the same, once it has stopped writing.
        lives: the epochs of the authority of the load that were seen, in order.
        server: `running` or `killed`.
        owner: `running`, `killed` or `starting`.
    """

    copies: tuple[Copy, ...]
    newest: dict[str, Place] = attrs.Factory(dict)
    final: dict[str, Place] | None = None
    lives: list[int] = attrs.Factory(list)
    server: str = "starting"
    owner: str = "starting"
    url: str = ""
    began_s: float = attrs.Factory(now_s)
    log: deque[tuple[float, str]] = attrs.field(factory=lambda: deque(maxlen=_LOG_LINES_MAX))

    def owner_heard(self, facts: dict[str, Any]) -> None:
        """The authority told something."""
        self.owner = "running"
        places = {key: (place[0], place[1]) for key, place in (facts.get("newest") or facts.get("final") or {}).items()}
        self.newest = places
        if "final" in facts:
            self.final = places
        epoch = places[LOAD.ref().key][0]
        if epoch not in self.lives:
            self.lives.append(epoch)

    def settled(self) -> bool:
        """Whether every replica says OK."""
        return all(copy.state == "running" and copy.status == "ok" for copy in self.copies)

    def converged(self) -> bool:
        """Whether every replica says OK and shows what was written last."""
        return self.final is not None and all(
            copy.status == "ok" and all(copy.place(key) == place for key, place in self.final.items()) for copy in self.copies
        )

    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return now_s() - self.began_s
