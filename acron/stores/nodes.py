"""Which processes live: each holds the lock of its own file, which the system lets go when it
dies. A process that is stopped, or whose loop is blocked, lives."""

from __future__ import annotations

import os
import re
import threading
import time
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from acron.errors import StoreUnavailable
from acron.model import Node
from acron.stores.lock import open_lock, try_lock

if TYPE_CHECKING:
    from pathlib import Path

    from acron.stores.files import Files

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
#: Others look at a lock for an instant; seconds for which that may keep us from taking ours.
_PATIENCE = 1.0


class NodeFiles:
    """``<folder>/<node>.lock``, held while it lives, and ``.json``, what it says of itself."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._files = files
        self._fd: int | None = None
        self._writing = threading.Lock()  # the store's thread, and the watchdog's
        self.own: str | None = None

    def open(self, node: Node) -> None:
        """From now on, this process is ``node``."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(node.id, ".lock")
        self._fd = open_lock(path)
        waited = 0.0
        while not try_lock(self._fd, path):
            if waited >= _PATIENCE:
                self.close()
                raise StoreUnavailable(f"there is a live node {node.id!r} already")
            time.sleep(0.01)
            waited += 0.01
        self.own = node.id
        self.write(node)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd = self.own = None

    def write(self, node: Node) -> None:
        path = self._path(node.id, ".json")
        beside = self._path(node.id, ".new")
        with self._writing:
            fd = self._files.create(beside)
            try:
                self._files.write(fd, msgspec.json.encode(replace(node, alive=True)))
            finally:
                os.close(fd)
            self._files.replace(beside, path)

    def dead(self, node_id: str) -> bool:
        """Proven: nobody holds its lock."""
        path = self._path(node_id, ".lock")
        try:
            fd = self._files.open(path)
        except FileNotFoundError:
            return True
        try:
            return try_lock(fd, path, shared=True)
        finally:
            os.close(fd)

    def all(self) -> list[Node]:
        try:
            names = sorted(os.listdir(self._folder))  # noqa: PTH208 (names will do)
        except (FileNotFoundError, NotADirectoryError):
            return []
        nodes = []
        for name in names:
            if not name.endswith(".json"):
                continue
            try:
                node = msgspec.json.decode(self._files.load(self._folder / name), type=Node)
            except (FileNotFoundError, msgspec.DecodeError):
                continue  # gone since it was listed, or cut off by a crash of the machine
            nodes.append(replace(node, alive=not self.dead(node.id)))
        return nodes

    def clean(self, busy: set[str | None]) -> None:
        """Forget the dead but the newest, which tells when something last ran here, and those
        in ``busy``."""
        dead = [node for node in self.all() if not node.alive and node.id not in busy]
        dead.sort(key=lambda node: node.heartbeat_at or node.started_at)
        for node in dead[:-1]:
            self._files.remove(self._path(node.id, ".json"))
            self._files.remove(self._path(node.id, ".lock"))

    def _path(self, node_id: str, suffix: str) -> Path:
        name = node_id
        if not _PLAIN.fullmatch(node_id):
            data = node_id.encode(errors="surrogatepass")
            name = "_" + blake2b(data, digest_size=16).hexdigest()
        return self._folder / (name + suffix)
