"""What an exception of the client, the socket or TLS means, and what to do about it; never with a secret or a payload in it."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final, NamedTuple

from nats.errors import AuthorizationError, StaleConnectionError, UnexpectedEOF
from nats.errors import Error as NatsError

_PERMISSION: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]{1,5000})"')
_REFUSED: Final = ("authorization violation", "authentication", "user credentials", "account")


class Denial(NamedTuple):
    """A subject on which the server does not let us publish, or to which it does not let us subscribe; in lower case."""

    publishing: bool
    subject: str

    def __str__(self) -> str:
        verb = "publishing" if self.publishing else "subscribing"
        return f"the server does not let this user do it: it denies {verb} to {self.subject}; grant that permission"


def denial(error: Exception) -> Denial | None:
    """The missing permission that the server reported, None where the error is something else."""
    found = _PERMISSION.search(str(error)) if isinstance(error, NatsError) else None
    return None if found is None else Denial(found[1] == "publish", found[2])


def diagnosed(error: BaseException, connect_timeout_s: float | None = None) -> str:
    """A sentence for whoever runs the bus; `connect_timeout_s` where it happened while connecting."""
    name = type(error).__name__
    hint = "" if connect_timeout_s is None else "; check the credentials and TLS settings"
    match error:
        case TimeoutError():
            return f"no answer within {connect_timeout_s or 0:g} s; check that a NATS server runs there, and what is in between"
        case ConnectionRefusedError():
            return "nobody listens there; start a NATS server, or check host and port"
        case socket.gaierror():
            return "the host name cannot be resolved; check it"
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted ({error.verify_message}); pass tls= with the right authority"
        case ssl.SSLError():
            return f"TLS failed ({error.reason or name}); check tls=, a client certificate may be missing"
        case AuthorizationError():
            return _refused("authorization violation")
        case StaleConnectionError() | UnexpectedEOF() | ConnectionError():
            return f"the connection was closed by the server{hint}"
        case NatsError():
            text = str(error).removeprefix("nats: ").strip("' ").lower()
            return _refused(text) if any(word in text for word in _REFUSED) else f"the server said: {text[:200]}"
        case OSError():
            return f"the network failed ({error.strerror or name})"
    if type(error).__module__.startswith(("nkeys", "binascii")):
        return f"the nkey seed or credentials file cannot be used ({name}); check it"
    return f"the handshake failed ({name})"


def _refused(text: str) -> str:
    return f"the server refused the credentials ({text[:100]}); check user and password, token, nkey seed or credentials file"
