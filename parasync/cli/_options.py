"""Which bus, and how to get in: the options that all commands share, and the look of their help."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import click

from parasync.errors import ConnectError, ParasyncError
from parasync.transports._nats_socket import parse_address
from parasync.transports.nats import NatsTransport, PrefixedSubjects

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@attrs.frozen(kw_only=True)
class BusOptions:
    """What was said about the bus; a field is None where nothing was said."""

    url: str | None = None
    prefix: str | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None
    creds: Path | None = None
    nkey: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_hostname: str | None = None
    tls_first: bool = False

    def transport(self, url: str, name: str) -> NatsTransport:
        """The transport for these options, to be entered.

        Args:
            url: one URL, or several with commas between.
            name: how the connection is called in the server's monitoring.

        Raises:
            UsageError: an option does not follow its grammar.
        """
        return NatsTransport(
            url.split(","),
            name=name,
            subjects=None if self.prefix is None else PrefixedSubjects(self.prefix),
            user=self.user,
            password=self.password,
            token=self.token,
            nkey_seed=None if self.nkey is None else _seed(self.nkey),
            creds=self.creds,
            tls=self._tls(),
            tls_hostname=self.tls_hostname,
            tls_handshake_first=self.tls_first,
        )

    def _tls(self) -> ssl.SSLContext | None:
        if self.tls_ca is None and self.tls_cert is None and self.tls_key is None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
            if self.tls_cert is not None:
                context.load_cert_chain(self.tls_cert, self.tls_key)
            elif self.tls_key is not None:
                raise click.UsageError("--tls-key needs the certificate that it belongs to: --tls-cert FILE")
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            raise click.UsageError(f"the TLS files cannot be used ({reason}): PEM files are expected") from None
        return context


def _seed(path: Path) -> str:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        lines = []
    for line in lines:
        if line.startswith("SU"):
            return line
    raise click.BadParameter(f"{path} holds no nkey seed, which begins with SU", param_hint="--nkey")


def _checked_url(_context: click.Context, _parameter: click.Parameter, url: str | None) -> str | None:
    try:
        for each in url.split(",") if url is not None else ():
            parse_address(each)
    except ConnectError as error:
        raise click.BadParameter(str(error)) from None
    return url


def _checked_prefix(_context: click.Context, _parameter: click.Parameter, prefix: str | None) -> str | None:
    try:
        return None if prefix is None else PrefixedSubjects(prefix).prefix
    except ParasyncError as error:
        raise click.BadParameter(str(error)) from None


class _BusOption(click.Option):
    """An option that is shown with its kind, below those of the command itself."""


def _option(name: str, text: str, **facts: Any) -> Callable[[Command], Command]:
    variable = "PARASYNC_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, cls=_BusOption, envvar=variable, help=text, **facts)


_BUS: Final = (
    _option("--url", "The server: nats://host:port or tls://host:port, several with commas between.", callback=_checked_url),
    _option("--prefix", "What the subjects on the bus begin with.  [default: synced]", callback=_checked_prefix),
    _option("--user", "User name."),
    _option("--password", "Password; better in the environment, where others do not see it."),
    _option("--token", "Token; better in the environment, too."),
    _option("--creds", "Credentials file of nsc.", type=_FILE),
    _option("--nkey", "File with an nkey seed.", type=_FILE),
    _option("--tls-ca", "Certificate authorities to trust, PEM; demands TLS.", type=_FILE),
    _option("--tls-cert", "Certificate to show to the server, PEM.", type=_FILE),
    _option("--tls-key", "Its key, PEM.", type=_FILE),
    _option("--tls-hostname", "Name that the server's certificate must have."),
    _option("--tls-first", "The server speaks TLS from the first byte.", is_flag=True, default=False),
)


def bus_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the bus to a command, which gets them as one argument `bus`."""

    @wraps(command)
    def called(**given: Any) -> Any:
        facts = {field.name: given.pop(field.name) for field in attrs.fields(BusOptions)}
        return command(bus=BusOptions(**facts), **given)

    decorated: Callable[..., Any] = called
    for option in reversed(_BUS):
        decorated = option(decorated)
    return decorated


timeout_option: Final = click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.01, 3600), default=5.0, show_default=True, metavar="SECONDS",
    help="How long to wait for an answer.",
)  # fmt: skip


class ShownCommand(click.Command):
    """A command whose help ends with examples, and whose options of the bus stand by themselves.

    Args:
        examples: lines of `what # why`, or `what`.
    """

    def __init__(self, *arguments: Any, examples: tuple[str, ...] = (), **facts: Any) -> None:
        super().__init__(*arguments, **facts)
        self._examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, then those of the bus, then the examples."""
        for title, shared in (("Options", False), ("Bus, each also in the environment, as PARASYNC_URL", True)):
            every = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
            parameters = [each for each in every if isinstance(each, _BusOption) is shared]
            rows = [record for each in parameters if (record := each.get_help_record(ctx)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        if self._examples:
            with formatter.section("Examples"):
                for example in self._examples:
                    formatter.write(f"  $ {example}\n")
