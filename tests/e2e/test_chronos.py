"""The whole loop between real processes: an arming service, an agent, and no agent at all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Acron

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKEN = "token-of-the-bot"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def ask(url: str, body: Any = None, token: str = TOKEN) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, None


class Service:
    """The arming service, and an agent's settings for it."""

    def __init__(self, acron: Acron, folder: Path) -> None:
        self.acron = acron
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.agent = f"http://127.0.0.1:{free_port()}"
        acron.env |= {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ARMING_URL": self.url,
            "ARMING_AGENTS": f"other=secret,bot={TOKEN}",
            "ARMING_STORE": f"sqlite:///{folder}/arming.db",
            "ACRON_PROVIDER": "chronos",
            "ACRON_CHRONOS_PORTAL_URL": self.url,
            "ACRON_CHRONOS_CALLBACK_URL": self.agent,
            "ACRON_CHRONOS_TOKEN": TOKEN,
            "ACRON_CHRONOS_AUDIENCE": "agent:bot",
            "ACRON_CHRONOS_ISSUER": self.url,
            "ACRON_CHRONOS_JWKS_URL": f"{self.url}/.well-known/jwks.json",
            "RECEIVER_IDLE": "0.2",
        }

    def uvicorn(self, module: str, url: str, *more: str) -> subprocess.Popen[str]:
        folder, name = module.split("/")
        port = url.rsplit(":", 1)[1]
        command = [sys.executable, "-m", "uvicorn", f"{name}:site", "--app-dir"]
        command += [str(EXAMPLES / folder), "--port", port, "--log-level", "warning", *more]
        with (self.folder / f"{name}.log").open("a") as told:
            process = subprocess.Popen(
                command, env=self.acron.env, stdout=told, stderr=told, text=True
            )
        self.acron.started.append(process)
        return process

    def log(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    def armed(self) -> dict[str, str]:
        status, found = ask(f"{self.url}/api/agent-cron/list")
        assert status in {0, 200}
        return {one["job_id"]: one["fire_at"] for one in found["armed"]} if status else {}


@pytest.fixture
def service(acron: Acron, tmp_path: Path) -> Service:
    made = Service(acron, tmp_path)
    made.uvicorn("arming_service/arming_service", made.url)
    acron.until(lambda: ask(f"{made.url}/.well-known/jwks.json")[0] == 200)
    return made


def test_an_agent_is_armed_called_and_armed_again(service: Service) -> None:
    acron = service.acron
    assert ask(f"{service.url}/api/agent-cron/list", token="forged")[0] == 401
    acron("add", "every 2s", "--command", "echo hot", "--id", "tea")
    orphan = {"job_id": "orphan", "fire_at": "2030-01-01T00:00:00Z"}
    orphan["agent_callback_url"] = service.agent
    assert ask(f"{service.url}/api/agent-cron/provision", orphan)[0] == 200
    assert set(service.armed()) == {"orphan"}
    daemon = acron.begin("run", "--serve", service.agent.rsplit(":", 1)[1])
    assert daemon.stdout is not None
    while " fires " not in (line := daemon.stdout.readline()):
        assert line
    assert "chronos" in line
    acron.until(lambda: set(service.armed()) == {"tea"})
    with urllib.request.urlopen(f"{service.agent}/healthz", timeout=10) as well:
        assert (well.status, well.read()) == (200, b"ok\n")
    for _ in range(2):  # what it armed, and what it armed then
        while " succeeded tea " not in (line := daemon.stdout.readline()):
            assert line
    assert acron.json("status")["provider"] == "chronos"
    acron("add", "in 10m", "--command", "true", "--id", "later")
    acron.until(lambda: set(service.armed()) >= {"later"})
    acron("remove", "later")
    acron.until(lambda: "later" not in service.armed())
    assert ask(f"{service.agent}/api/cron/fire", {"job_id": "tea"})[0] == 401
    told = acron.stop(daemon)
    runs = acron.runs("tea")
    instants = [run["scheduled_at"] for run in runs]
    assert len(set(instants)) == len(instants)
    assert max(run["lateness"] for run in runs) < 10
    assert set(service.armed()) == {"tea"}, told + service.log()


def proof(service: Service) -> str:
    """What the arming service proves itself with when it calls: here it calls us."""
    heard: list[str] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Ear) as ear:
        ear.timeout = 20
        call = {"job_id": "x", "fire_at": datetime.now(UTC).isoformat(), "dedup_key": "x"}
        call["agent_callback_url"] = f"http://127.0.0.1:{ear.server_port}"
        assert ask(f"{service.url}/api/agent-cron/provision", call)[0] == 200
        ear.handle_request()
    return heard[0].removeprefix("Bearer ")


def test_bodies_that_are_too_large_slow_or_deep_harm_nobody(service: Service) -> None:
    """FAULTS 45, from one who may call."""
    acron = service.acron
    acron("add", "every 2s", "--command", "echo hot", "--id", "tea")
    port = int(service.agent.rsplit(":", 1)[1])
    daemon = acron.begin("run", "--serve", str(port))
    assert daemon.stdout is not None
    while " fires " not in (line := daemon.stdout.readline()):
        assert line
    token = proof(service)
    fire = f"{service.agent}/api/cron/fire"
    head = f"POST /api/cron/fire HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.settimeout(30)
        slow.sendall(f'{head}Content-Length: 100\r\n\r\n{{"job_id": '.encode())
        assert ask(fire, "x" * 100_000, token)[0] == 413
        for body in (b"[" * 60_000, b'{"job_id":' * 6_000, b"\xff"):
            assert raw(port, head, body) == 400
        assert b" 408 " in slow.recv(100)
    while " succeeded tea " not in (line := daemon.stdout.readline()):
        assert line
    assert "Traceback" not in acron.stop(daemon)


def raw(port: int, head: str, body: bytes) -> int:
    """The status of the answer to a body as it is."""
    with socket.create_connection(("127.0.0.1", port)) as call:
        call.settimeout(20)
        call.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return int(call.recv(100).split()[1])


def test_nothing_runs_between_two_fires(service: Service) -> None:
    acron = service.acron
    receiver = service.uvicorn("scale_to_zero/receiver", service.agent, "--lifespan", "off")
    acron.until(lambda: ask(f"{service.agent}/api/cron/fire", {})[0] == 401)
    acron("add", "every 6s", "--command", "echo hot", "--id", "tea")
    acron("run", "--no-live", "--until-idle", "0.1")
    (fire_at,) = service.armed().values()
    # On a slow machine an earlier instant was due while that ran.
    assert fired_at(fire_at, acron.runs("tea")) == []
    assert children(receiver.pid) == [], "no agent is there at fire time"
    acron.until(lambda: service.armed().get("tea", "") > fire_at and not children(receiver.pid))
    (run,) = fired_at(fire_at, acron.runs("tea"))
    assert run["state"] == "succeeded"


def fired_at(instant: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of them that stand for ``instant``."""
    when = datetime.fromisoformat(instant)
    return [run for run in runs if datetime.fromisoformat(run["scheduled_at"]) == when]


def children(pid: int) -> list[str]:
    found = subprocess.run(
        ["ps", "--no-headers", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()
