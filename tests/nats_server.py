"""Real nats-servers for tests: one, or a cluster of three."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a server may take to listen, in seconds.
PATIENCE = 15.0


class NatsServer:
    """A server of our own, with its files in a temporary directory."""

    def __init__(self, folder: Path, port: int, *more: str) -> None:
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self._command = [str(binary), "-a", "127.0.0.1", "-p", str(port), "-js"]
        self._command += ["-sd", str(folder), *more]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def listening(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < end, "nats-server does not listen"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def free_ports(many: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(many)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


@contextlib.contextmanager
def nats_servers(many: int = 1, *, config: Path | None = None) -> Iterator[list[NatsServer]]:
    """So many servers, with that file of more settings; more than one are a cluster."""
    folder = Path(tempfile.mkdtemp(prefix="acron-nats-"))
    ports = free_ports(2 * many)
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports[many:])
    servers: list[NatsServer] = []
    try:
        for n in range(many):
            more = [] if many == 1 else ["-cluster_name", "c", "-routes", routes, "-n", f"s{n}"]
            more += [] if many == 1 else ["-cluster", f"nats://127.0.0.1:{ports[many + n]}"]
            more += [] if config is None else ["-c", str(config)]
            servers.append(NatsServer(folder / str(n), ports[n], *more))
        for server in servers:
            server.listening()
        yield servers
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)
