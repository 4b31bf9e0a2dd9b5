"""What waits to be sent: publishes, of which only the newest of each key is kept, and commands, all in one order."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

from parasync.errors import EncodeError
from parasync.protocol import Envelope

OUTBOX_KEYS_MAX: Final = 65_536
"""The most keys that wait to be sent; beyond it the key that waited longest is dropped and counted."""
OUTBOX_BYTES_MAX: Final = 64 * 1024 * 1024
"""The most bytes of frames that wait to be sent; beyond it the keys that waited longest are dropped and counted."""


Encode: TypeAlias = Callable[[str, Envelope[Any]], bytes]
"""Makes the frame of an envelope of a key."""

class Turn(NamedTuple):
    """A command that is made a message when its turn has come."""

    message: Callable[[Collection[str]], bytes | None]
    """Makes the message, or None for none; gets the keys of which something still waits."""


_COMMAND_BYTES: Final = 64
_Waiting: TypeAlias = tuple[int, int, int, int, bytes]
"""One publish: its place in the order, its epoch and predecessor, the size of its frame, and the message in whole."""


class Outbox:
    """A bounded queue that conflates; it never blocks and does no I/O.

    Args:
        keys_max: the most keys that wait.
        bytes_max: the most bytes of frames that wait.
    """

    def __init__(self, keys_max: int, bytes_max: int) -> None:
        self._keys_max = keys_max
        self._bytes_max = bytes_max
        self._publishes: OrderedDict[str, _Waiting] = OrderedDict()
        self._commands: deque[tuple[int, Any]] = deque()
        self._numbers = count(1)
        self._bytes = 0
        self._command_bytes = 0
        self.conflated = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._publishes) + len(self._commands)

    def publish(self, key: str, envelope: Envelope[Any], head: bytes, encode: Encode, frame_bytes_max: int) -> None:
        """Put an envelope at the end; one of the same key that still waits is gone, and hands its predecessor on.

        Args:
            key: of the object.
            envelope: what to send.
            head: the command up to the size.
            encode: makes the frame.
            frame_bytes_max: the largest frame that can be sent now.

        Raises:
            EncodeError: it cannot be encoded or is too large; nothing was changed.
        """
        publishes = self._publishes
        waiting = publishes.get(key)
        after = envelope.sequence - 1 if envelope.after is None else envelope.after
        if waiting is not None and waiting[1] == envelope.epoch and waiting[2] < after:
            after = waiting[2]
            envelope = following(envelope, after)
        frame = encode(key, envelope)
        size = len(frame)
        if size > frame_bytes_max:
            raise EncodeError(f"got a frame of {size} bytes, expected at most {frame_bytes_max} on this bus")
        if waiting is not None:
            self.conflated += 1
            self._bytes -= waiting[3]
            del publishes[key]
        publishes[key] = (next(self._numbers), envelope.epoch, after, size, b"%b%d\r\n%b\r\n" % (head, size, frame))
        self._bytes += size
        if len(publishes) > self._keys_max or self._bytes > self._bytes_max:
            self._shrink()

    def _shrink(self) -> None:
        publishes = self._publishes
        while len(publishes) > self._keys_max or (self._bytes > self._bytes_max and len(publishes) > 1):
            self._bytes -= publishes.popitem(last=False)[1][3]
            self.dropped += 1

    def command(self, command: Any) -> None:
        """Put a command at the end; the order to publishes before and after it is kept."""
        self._commands.append((next(self._numbers), command))

    def message(self, message: bytes) -> bool:
        """Put a message that must not be conflated at the end; False, and counted, where too many bytes of such wait."""
        if self._command_bytes + len(message) > self._bytes_max:
            self.dropped += 1
            return False
        self._command_bytes += len(message)
        self.command(message)
        return True

    def lead(self, commands: Iterable[Any]) -> None:
        """Put commands before everything else, in their order."""
        self._commands.extendleft([(0, command) for command in reversed(list(commands))])

    def discard(self, kind: type) -> None:
        """Forget the commands of a type; they meant something on a connection that is gone."""
        self.prune(lambda command: isinstance(command, kind))

    def prune(self, void: Callable[[Any], bool]) -> None:
        """Forget the commands of which this is true."""
        self._commands = deque([entry for entry in self._commands if not void(entry[1])])
        self._command_bytes = sum(len(command) for _, command in self._commands if isinstance(command, bytes))

    def take(self, size_bytes: int, payload_bytes_max: int) -> list[Any]:
        """The next messages, as bytes, and commands, as they are: about `size_bytes` of them, none when nothing waits.

        A frame over `payload_bytes_max` is dropped and counted: a server ends the connection of those who send one.
        """
        publishes, commands = self._publishes, self._commands
        if not commands and self._bytes <= size_bytes:
            taken: list[Any] = [message for _, _, _, size, message in publishes.values() if size <= payload_bytes_max]
            self.dropped += len(publishes) - len(taken)
            publishes.clear()
            self._bytes = 0
            return taken
        taken = []
        while size_bytes > 0 and (publishes or commands):
            if commands and (not publishes or commands[0][0] < next(iter(publishes.values()))[0]):
                command = commands.popleft()[1]
                if type(command) is Turn:
                    message = command.message(publishes.keys())
                    if message is not None:
                        size_bytes -= len(message)
                        taken.append(message)
                    continue
                size = len(command) if isinstance(command, bytes) else 0
                self._command_bytes -= size
                size_bytes -= size + _COMMAND_BYTES
                taken.append(command)
                continue
            _, _, _, size, published = publishes.popitem(last=False)[1]
            self._bytes -= size
            size_bytes -= len(published)
            if size <= payload_bytes_max:
                taken.append(published)
            else:
                self.dropped += 1
        return taken


def following(envelope: Envelope[Any], after: int) -> Envelope[Any]:
    """The same envelope with another predecessor."""
    return Envelope(
        envelope.value,
        envelope.schema_version,
        envelope.sequence,
        envelope.epoch,
        after,
        envelope.kind,
        envelope.meta,
        envelope.checksum,
        envelope.body,
    )
