from __future__ import annotations

import getpass
import io
import json
import os
import pickle
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from apscheduler.triggers.cron import CronTrigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]


@pytest.fixture
def archive(cli: Cli, tmp_path: Path) -> Path:
    """An export of a store with a job that has run, and one that is paused."""
    cli("add", "every 2h", "--command", "echo hot", "--id", "tea")
    cli("add", "0 9 * * *", "--command", "true", "--id", "news", "--paused")
    cli("run-now", "tea")
    file = tmp_path / "copy.jsonl"
    said = cli("export", str(file))
    assert said.code == 0
    assert "exported 2 jobs, 1 run and 0 skips" in said.out
    return file


def test_an_export_is_imported_into_another_store(cli: Cli, archive: Path, tmp_path: Path) -> None:
    other = ("--store", str(tmp_path / "other.json"))
    dry = cli("import", str(archive), "--dry-run", *other)
    assert dry.out == "nothing is written yet; it would be: 2 jobs added, 1 run\n"
    assert cli("list", "--json", *other).json == []
    assert cli("import", str(archive), *other).out == "2 jobs added, 1 run\n"
    assert cli("list", "--json", *other).json == cli("list", "--json").json
    assert cli("runs", "--json", *other).json == cli("runs", "--json").json
    assert cli("import", str(archive), *other).out == "0 jobs added, 2 there already\n"
    told = cli("import", str(archive), "--json", *other).json
    assert (told["kind"], told["unchanged"], told["left_out"]) == ("export", 2, [])


def test_an_export_to_the_output(
    cli: Cli, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cli("export")
    head, *lines = said.out.splitlines()
    assert json.loads(head)["kind"] == "export"
    assert lines == archive.read_text().splitlines()[1:]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(said.out.encode())))
    other = ("--store", str(tmp_path / "other.json"))
    assert cli("import", "-", *other).out == "2 jobs added, 1 run\n"
    assert cli("export", "--json").code == 2
    told = cli("export", str(archive), "--json").json
    assert (told["jobs"], told["runs"], told["skips"]) == (2, 1, 0)
    assert archive.stat().st_mode & 0o777 == 0o600


def test_an_export_to_a_pipe_leaves_the_pipe(cli: Cli, archive: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(pipe.read_bytes)
        assert cli("export", str(pipe)).code == 0
        data = reading.result(10)
    assert pipe.is_fifo()
    assert data.count(b"\n") == archive.read_bytes().count(b"\n")


def test_a_failed_export_leaves_what_was_there(cli: Cli, archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert cli("export", str(archive), "--store", str(broken)).code == 1
    assert archive.read_bytes() == before
    assert [one.name for one in tmp_path.glob("*.part")] == []
    assert "No such file" in cli("export", str(tmp_path / "no" / "where")).err


def test_conflicts(cli: Cli, archive: Path) -> None:
    cli("edit", "tea", "--timeout", "5m")
    said = cli("import", str(archive))
    assert said.code == 1
    assert "tea" in said.err
    assert "--on-conflict" in said.err
    assert cli("import", str(archive), "--on-conflict", "keep").out.startswith(
        "0 jobs added, 1 kept"
    )
    assert cli("show", "tea", "--json").json["timeout"] == 300
    assert "1 replaced" in cli("import", str(archive), "--on-conflict", "replace").out
    assert "timeout" not in cli("show", "tea", "--json").json


def test_an_import_that_stops_says_what_was_done(
    cli: Cli, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acron.errors import StoreUnavailable
    from acron.stores.json_file import JsonFileStore

    monkeypatch.setattr("acron.moving.restore.PAGE", 1)
    write = JsonFileStore.write
    calls = 0

    async def failing(self: JsonFileStore, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # two have moved the sequence, the third was the first job
            raise StoreUnavailable("the disk is full", address="there")
        return await write(self, *args)

    monkeypatch.setattr(JsonFileStore, "write", failing)
    other = ("--store", str(tmp_path / "other.json"))
    said = cli("import", str(archive), *other)
    assert said.code == 1
    assert "the disk is full; before that: 1 job added" in said.err
    assert "run the same import again" in said.err
    assert cli("import", str(archive), *other).out == "1 job added, 1 there already, 1 run\n"


def test_a_crontab(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text("MAILTO=a@b.c\n0 3 * * * backup.sh\n0 3 31 2 * never\n")
    dry = cli("import", "--crontab", str(file), "--dry-run", "--tz", "Asia/Tokyo")
    first, mail, never, total = dry.out.splitlines()
    assert first.startswith("would be added: backup-")
    assert "0 3 * * * (Asia/Tokyo) $ backup.sh" in first
    assert mail.startswith("left out: line 1: MAILTO=a@b.c: ")
    assert never.startswith("left out: line 3: ")
    assert total == "nothing is written yet; it would be: 1 job added, 2 things left out"
    assert cli("list", "--json").json == []
    told = cli("import", str(file), "--crontab", "--json").json
    (job,) = cli("list", "--json").json
    assert told["jobs"] == [{"id": job["id"], "import": "added"}]
    assert job["tz"] == "Europe/Paris"
    assert {"where", "what", "why"} == told["left_out"][0].keys()
    assert "1 there already" in cli("import", str(file), "--crontab").out


def test_a_system_crontab(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(f"0 3 * * * {getpass.getuser()} mine\n0 3 * * * nobody-else theirs\n")
    said = cli("import", "--crontab", str(file), "--system")
    assert "runs as nobody-else" in said.out
    (job,) = cli("list", "--json").json
    assert job["command"] == "mine"


def test_records(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    prompt = {"id": "ask", "prompt": "Say\x1b[31m hello", "schedule": "every 2h"}
    file.write_text(json.dumps([prompt, {"id": "a", "command": "x", "schedule": "every 2h"}]))
    said = cli("import", str(file))
    assert said.out.splitlines()[1:] == [
        (
            "left out: jobs[0]: ask: prompt: the prompt has an invisible character, U+001B "
            "a control character, in line 1, column 4; type it anew"
        ),
        "1 job added, 1 thing left out",
    ]


def test_an_apscheduler_store_must_be_trusted(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "aps.db"
    trigger = CronTrigger(hour=9, timezone="Europe/Paris")
    state = {"version": 1, "func": "bot:remind", "trigger": trigger, "args": (), "name": "tea"}
    state |= {"kwargs": {"n": 1}, "next_run_time": datetime(2027, 1, 1, tzinfo=UTC)}
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE apscheduler_jobs (id TEXT, next_run_time FLOAT, job_state BLOB)")
        db.execute("INSERT INTO apscheduler_jobs VALUES ('tea', 1, ?)", (pickle.dumps(state),))
        db.commit()
    url = f"sqlite:///{file}"
    said = cli("import", "--apscheduler", url)
    assert said.code == 2
    assert "--trust" in said.err
    assert cli("import", "--apscheduler", url, "--trust").out.endswith("1 job added\n")
    (job,) = cli("list", "--json").json
    assert (job["id"], job["call"], job["kwargs"]) == ("tea", "remind", {"n": 1})


@pytest.mark.parametrize(
    "args,code,words",
    [
        (("import",), 2, "FILE"),
        (("import", "/no/such/file"), 1, "cannot read /no/such/file"),
        (("import", "/"), 1, "cannot read /"),
        (("import", "--crontab", "/no/such/file"), 1, "cannot read"),
        (("import", "x", "--system"), 2, "--crontab"),
        (("import", "x", "--crontab", "--apscheduler"), 2, "not both"),
        (("import", "x", "--on-conflict", "fight"), 2, "fight"),
        (("import", "/dev/null", "--crontab", "--tz", "Mars"), 1, "unknown zone 'Mars'"),
        (("export", "."), 2, "names no file"),
        (("import", "--apscheduler", "sqlite:////no/db", "--trust"), 1, "unable to open"),
    ],
)
def test_wrong_arguments(cli: Cli, args: tuple[str, ...], code: int, words: str) -> None:
    said = cli(*args)
    assert said.code == code
    assert words in said.err


def test_broken_files(cli: Cli, archive: Path, tmp_path: Path) -> None:
    other = ("--store", str(tmp_path / "other.json"))
    data = archive.read_text().splitlines()
    cases = {"cut off": data[:-1], "line 2": [data[0], "x", *data[1:]], "no JSON": ["x"]}
    cases["newer acron"] = ['{"acron": 9, "kind": "export"}']
    for words, lines in cases.items():
        archive.write_text("\n".join(lines) + "\n")
        said = cli("import", str(archive), *other)
        assert said.code == 1
        assert words in said.err
    assert cli("list", "--json", *other).json == []
