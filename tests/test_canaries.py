"""FAULTS 47 and 48: a secret and control characters, through all that acron shows and keeps.

They come in a text that is returned and one that is printed, an exception, a client's error, a
note; and are looked for in all that people see and files keep. What a job was declared as is shown
as it was written: there secrets are named (``env:NAME``), and not told.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from acron.cli import main
from acron.testing.contracts.adapters import CANARY, RAW

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os
from acron import Acron, Command, Context, DeliveryError, Retry
from acron.testing import RecordingAdapter
from acron.testing.contracts.adapters import CANARY, HOSTILE

HOSTILE = HOSTILE.replace("\\ud800", "")

class Chat(RecordingAdapter):
    async def send(self, message):
        with open("chat.txt", "a", newline="") as file:
            file.write(message.text)
        if message.to == "refuses":
            said = f"POST https://bot:{{CANARY}}@chat said {{HOSTILE}}"
            raise DeliveryError(said, permanent=True)
        if message.to == "breaks":
            raise OSError(HOSTILE)
        return await super().send(message)

app = Acron({store!r}, adapters={{"chat": Chat("chat", verbatim=False)}}, tz="UTC")
TELL = "chat:1,chat:refuses,chat:breaks,local,log"

@app.job("every 24h", deliver=TELL)
async def says(ctx: Context):
    ctx.log.warning("logged by hand")
    await ctx.progress(1, 2, HOSTILE)
    return HOSTILE

@app.job("every 24h", deliver=TELL)
async def says_much(ctx: Context):
    return "tea with milk\\n" * 6000 + HOSTILE + "tea with milk\\n" * 6000

@app.job("every 24h", deliver=TELL)
async def raises():
    raise ValueError(HOSTILE)

@app.job("every 24h", deliver=TELL, retry=Retry(attempts=2, delay=0))
def exits():
    raise SystemExit(HOSTILE)

async def add():
    async with app.attached():
        with open("given", "w", newline="") as file:
            file.write(HOSTILE)
        command = Command("cat given; exit 3", cwd=os.getcwd())
        await app.add("every 24h", command, id="prints", deliver=TELL)
"""
#: What people and programs read, once all has run.
READING = (
    ("list",),
    ("show", "says"),
    ("runs", "--limit", "50"),
    ("runs", "--skips"),
    ("deliveries",),
    ("incidents",),
    ("status",),
    ("nodes",),
    ("doctor",),
    ("next", "says"),
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"canary_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(PROGRAM.format(store=str(tmp_path / "jobs.json")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def harmless(text: str, where: str) -> None:
    assert CANARY not in text, where
    assert not RAW.search(text.replace("\n", "").replace("\t", "")), where


def test_no_sink_shows_a_secret_or_a_control_character(
    program: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    import asyncio
    from importlib import import_module

    caplog.set_level(logging.DEBUG, "acron")
    asyncio.run(import_module(program).add())
    at = ("--app", program)
    assert main(["tick", *at]) == 0
    for job in ("says", "says_much", "raises", "exits", "prints"):
        code = main(["run-now", job, *at])
        assert code == (0 if job.startswith("says") else 1)
    said = capsys.readouterr()
    harmless(said.out, "what the commands print")
    harmless(said.err, "what they note")
    assert "forged" in said.out

    runs = []
    for words in READING:
        main([*words, *at])
        said = capsys.readouterr()
        harmless(said.out + said.err, " ".join(words))
        assert "Traceback" not in said.err
        if words[0] == "next":
            continue
        main([*words, "--json", *at])
        out = capsys.readouterr().out
        assert CANARY not in out, words
        assert out.isascii()
        if words[0] == "runs":
            runs = json.loads(out)
    ids = {run["job_id"]: run["id"] for run in runs}
    assert ids.keys() == {"says", "says_much", "raises", "exits", "prints"}
    for run in ids.values():
        main(["output", run, *at])
        said = capsys.readouterr()
        harmless(said.out + said.err, run)
        main(["output", run, "--json", *at])
        assert CANARY not in capsys.readouterr().out

    (tmp_path / "given").unlink()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    told = {path.name: path.read_bytes() for path in files if not path.name.startswith(program)}
    assert {"jobs.json", "jobs.journal", "chat.txt", "output.txt"} <= told.keys()
    assert sum(name.endswith(".md") for name in told) >= 5
    for name, data in told.items():
        assert CANARY.encode() not in data, name
        if name.endswith((".md", ".txt")):
            harmless(data.decode(), name)
    assert all("forged" in told[name].decode() for name in ("chat.txt", "output.txt"))
    for record in caplog.records:
        harmless(record.getMessage().replace("\n", ""), record.getMessage())
        assert record.exc_info is None
    assert any("chat:refuses" in record.getMessage() for record in caplog.records)
