"""deliveries, and deliveries resend."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from acron.cli import main

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
from acron import Acron, DeliveryError
from acron.testing import RecordingAdapter

class Chat(RecordingAdapter):
    async def send(self, message):
        if message.to == "2":
            raise DeliveryError("no such chat", permanent=True)
        return await super().send(message)

class Refuses(Chat):
    async def send(self, message):
        raise DeliveryError("POST " + message.to + " refused", permanent=True)

app = Acron({store!r}, adapters={{"chat": Chat("chat"), "apprise": Refuses("apprise")}})

@app.job("every 24h", deliver="chat:1,chat:2,json://me:hunter2@localhost:1/hunter2")
async def tea():
    return "tea is ready"
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"prog_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(PROGRAM.format(store=str(tmp_path / "jobs.json")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_what_became_of_each_target_and_sending_again(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tick", "--app", program]) == 0  # which declares the job
    assert main(["run-now", "tea", "--app", program]) == 0
    capsys.readouterr()

    assert main(["deliveries", "--json", "--app", program]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["job_id"], row["target"], row["state"]) for row in rows] == [
        ("tea", "chat:1", "delivered"),
        ("tea", "chat:2", "failed"),
        ("tea", "json://***", "failed"),
    ]
    assert (rows[0]["receipt"], rows[1]["error"]) == ("1", "no such chat")

    assert main(["deliveries", "--state", "failed", "--app", program]) == 0
    out = capsys.readouterr().out
    assert "chat:2" in out
    assert "chat:1" not in out
    assert "hunter2" not in out

    run = rows[0]["run_id"]
    assert main(["deliveries", "resend", run, "chat:1", "--app", program]) == 0
    assert "chat:1 delivered" in capsys.readouterr().out
    assert main(["deliveries", "resend", run, "chat:2", "--json", "--app", program]) == 1
    again = json.loads(capsys.readouterr().out)
    assert (again["state"], again["attempts"]) == ("failed", 1)
    assert main(["deliveries", "resend", run, "json://***", "--app", program]) == 1
    assert main(["deliveries", "resend", run, "chat:3", "--app", program]) == 1
    assert main(["deliveries", "resend", run]) == 2
    assert "hunter2" not in "".join(capsys.readouterr())
