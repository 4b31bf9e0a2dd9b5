"""A mirror as a whole, seen as one replica: so that status, age and reason are the same rules for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from parasync.protocol._held import Refused
from parasync.protocol._standing import NOWHERE
from parasync.protocol._status import Status, age_of, reason_of, status_of

if TYPE_CHECKING:
    from parasync.protocol._mirror import Mirror
    from parasync.protocol._replica import Replica


class Face:
    """What `status_of`, `age_of` and `reason_of` look at."""

    __slots__ = ("_mirror",)

    def __init__(self, mirror: Mirror[Any]) -> None:
        self._mirror = mirror

    @property
    def held(self) -> object | None:
        """Something, once all was loaded."""
        return self._mirror.held if self._mirror.loaded else None

    @property
    def provisional(self) -> bool:
        """Whether it shows what was saved, and nobody has proven that yet."""
        return not self._mirror.proven

    @property
    def refused(self) -> Refused | None:
        """Stands for all that were refused."""
        refused = list(self._mirror.refused.values())
        if not refused:
            return None
        count = "1 object is" if len(refused) == 1 else f"{len(refused)} objects are"
        return Refused(NOWHERE, f"{count} newer than what can be read, the last one: {refused[-1].reason}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mirror.rules, name)

    def status(self, now_s: float) -> Status:
        """What the mirror says of itself."""
        return status_of(cast("Replica[Any]", self), now_s)

    def age_s(self, now_s: float) -> float:
        """Seconds since all of it was surely current."""
        return age_of(cast("Replica[Any]", self), now_s)

    def reason(self, now_s: float) -> str:
        """Why the status is not OK."""
        return reason_of(cast("Replica[Any]", self), now_s)
