"""Each check, on a situation that is really broken in that way."""

# ruff: noqa: ASYNC240 - nothing else is on the loop

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron import Acron, Command, Http, InProcessCronScheduler
from acron import doctor as doctors
from acron.cli import main
from acron.clock import SystemClock
from acron.doctor import Finding, examine
from acron.model import Decision, Settings
from acron.stores.json_file import MANY_JOBS, JsonFileStore
from acron.stores.lock import open_lock, try_lock

if TYPE_CHECKING:
    from pathlib import Path

    from acron.testing import VirtualTime


def said(found: list[Finding], check: str) -> list[tuple[str, str]]:
    return [(one.level, one.what) for one in found if one.check == check]


def wrong(found: list[Finding]) -> list[str]:
    for one in found:
        assert bool(one.mend) == (one.level != "ok"), one
    return [f"{one.check}: {one.what}" for one in found if one.level == "wrong"]


@pytest.fixture(params=["jobs.json", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "acron-jobs"
    return str(path) if request.param == "jobs.json" else f"sqlite:///{path}"


async def test_a_healthy_store(store: str) -> None:
    app = Acron(store)
    async with app:
        await app.add("in 1h", Command("true"))
        found = await examine(Acron(store))
    assert wrong(found) == []
    checks = {one.check for one in found}
    assert checks == {
        *("settings", "zones", "provider", "store", "daemon", "clock", "jobs"),
        *("incidents", "extras", "disk", "permissions"),
    }
    assert {one.level for one in found} == {"ok"}


async def test_nothing_fires_what_waits(store: str) -> None:
    app = Acron(store)
    async with app.attached():
        assert wrong(await examine(Acron(store))) == []
        await app.add("in 1h", Command("true"))
    assert wrong(await examine(Acron(store))) == ["daemon: not running"]


async def test_a_lock_that_is_held(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    async with Acron(str(path)).attached():
        (lock,) = [one for one in tmp_path.glob("*.lock") if one.is_file()]
    fd = open_lock(lock)
    try:
        assert try_lock(fd, lock)
        found = await examine(Acron(JsonFileStore(path, lock_wait=0.05)))
    finally:
        os.close(fd)
    (finding,) = [one for one in found if one.level == "wrong"]
    assert "has held" in finding.what
    assert finding.mend.startswith("end process")


@pytest.mark.parametrize(
    "text, told",
    [
        (b"SQLite format 3\0" + b"junk" * 300, "nothing was overwritten"),
        (None, "see that it is there"),
    ],
)
async def test_a_store_that_cannot_be_read(tmp_path: Path, text: bytes | None, told: str) -> None:
    path = tmp_path / "jobs.db"
    if text is not None:
        path.write_bytes(text)
    else:
        (tmp_path / "file").write_text("no folder")
        path = tmp_path / "file" / "jobs.db"
    (finding,) = [one for one in await examine(Acron(f"sqlite:///{path}")) if one.level == "wrong"]
    assert finding.check == "store"
    assert told in finding.mend


async def test_a_store_that_is_none(tmp_path: Path) -> None:
    found = await examine(Acron(str(tmp_path)))
    (told,) = wrong(found)
    assert told.startswith("settings: store: ")
    assert "it is a directory; name a file in it" in told


async def test_a_bad_record_and_too_many(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    jobs: list[Any] = [
        {"id": f"j{i}", "schedule": "every 1h", "command": "true", "paused": True}
        for i in range(MANY_JOBS + 1)
    ]
    path.write_text(json.dumps({"version": 1, "jobs": [*jobs, {"id": "bad", "schedule": 5}]}))
    path.chmod(0o600)
    records = said(await examine(Acron(str(path))), "records")
    assert [level for level, _ in records] == ["wrong", "advice"]
    assert "bad" in records[0][1]
    assert "501 jobs" in records[1][1]


async def test_the_jobs_themselves(store: str) -> None:
    app = Acron(store, settings=Settings(calendars={"off": ("2030-01-01",)}))

    @app.job("in 1h", id="lost")
    async def lost() -> None: ...

    async with app:
        await app.add("every 1h", "gone")
        await app.add("in 2h", Http("https://example.org"), deliver="carrier:1", id="web")
        job = await app.add("in 1h", Command("true"), id="broken")
        await app.store.write(
            ["broken"],
            lambda *_: Decision(replace(job, error="no calendar 'x'", next_fire_at=None)),
            app.clock.now(),
        )
        found = await examine(Acron(store), program=True)
    jobs = said(found, "jobs")
    assert ("wrong", "no next instant: no calendar 'x'") in jobs
    assert any("call:gone" in what for level, what in jobs if level == "wrong")
    assert said(found, "extras") == [("wrong", "no adapter 'carrier' here for web")]
    async with app.attached():
        await app.edit("web", deliver="telegram:1")
    (finding,) = [one for one in await examine(Acron(store)) if one.check == "extras"]
    assert finding.level == "advice"
    assert 'pip install "acron-runtime[telegram]"' in finding.mend
    other = Acron(store)

    @other.job("in 1h")
    async def kept() -> None: ...

    async with other:
        jobs = said(await examine(Acron(store)), "jobs")
    assert ("advice", "no longer declared, and paused: lost") in jobs


async def test_aiohttp_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Acron("memory://")
    async with app.attached():
        await app.add("in 1h", Http("https://example.org"), id="web")
    monkeypatch.setattr(doctors, "find_spec", lambda _: None)
    (finding,) = [one for one in await examine(app) if one.check == "extras"]
    assert (finding.level, finding.mend) == ("wrong", 'pip install "acron-runtime[http]"')


async def test_a_platform_whose_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACRON_TELEGRAM_TOKEN", "123456:abc")
    for library in ("telegram", "aiogram"):
        monkeypatch.setitem(sys.modules, library, None)
    (what,) = wrong(await examine(Acron("memory://")))
    assert what.startswith("extras: ")
    assert "acron-runtime[telegram]" in what


async def test_an_open_incident(store: str) -> None:
    app = Acron(store)

    @app.job("@yearly")
    async def fails() -> None:
        raise ValueError("no cake")

    async with app:
        await app.run_now("fails", wait=True)
        found = await examine(Acron(store))
        assert wrong(found) == ["incidents: failure, 1 times: ValueError: no cake"]
        for incident in await app.incidents("open"):
            await app.acknowledge(incident.id)
        assert wrong(await examine(Acron(store))) == []


async def test_a_clock_that_is_behind(store: str) -> None:
    class Late(SystemClock):
        def now(self) -> Any:
            return super().now() - timedelta(minutes=2)

    async with Acron(store):
        found = await examine(Acron(store, clock=Late()))
    assert any("in our future" in text for text in wrong(found) if text.startswith("clock"))


async def test_a_clock_that_was_a_year_ahead(store: str, acron_time: VirtualTime) -> None:
    app = Acron(store, clock=acron_time.clock)
    async with app:
        job = await app.add("* * * * *", Command("true"))
        await acron_time.advance(60)
        acron_time.jump_clock(365 * 86400)
        await acron_time.advance(60)
        acron_time.jump_clock(-365 * 86400)
        await acron_time.advance(60)
        found = await examine(Acron(store, clock=acron_time.clock))
        what = "fired by a clock that was ahead of ours, and waiting for it: " + job.id
        assert wrong(found) == [f"clock: {what}"]

        edited = await app.edit(job.id, schedule="every minute")
        assert edited.due_at is not None
        assert (edited.due_at - acron_time.now()).total_seconds() <= 60


async def test_two_daemons_of_one_app(store: str) -> None:
    async with Acron(store, app="bot"), Acron(store, app="bot"), Acron(store, app="other"):
        found = await examine(Acron(store))
    advice = [one for one in found if one.level == "advice"]
    assert [one.what[:44] for one in advice] == ["2 processes fire the jobs of the app 'bot': "]
    assert wrong(found) == []


async def test_a_provider_that_is_not_there() -> None:
    settings = Settings(store="memory://", provider="nothing-like-it")
    (finding,) = [one for one in await examine(Acron(settings=settings)) if one.level == "wrong"]
    assert (finding.check, finding.where) == ("provider", "provider = 'nothing-like-it'")
    assert "built-in" in finding.mend


async def test_a_daemon_whose_ticks_fail(store: str) -> None:
    class Silent(InProcessCronScheduler):
        async def start(self, stop_event: Any, **_: Any) -> None:
            await stop_event.wait()

    app = Acron(store, provider=Silent())
    async with app:
        await app.add("in 1h", Command("true"))
        node = app.node
        assert node is not None
        late = app.clock.now() + timedelta(hours=1)

        class Later(SystemClock):
            def now(self) -> Any:
                return late

        assert "daemon: stalled" in wrong(await examine(Acron(store, clock=Later())))


async def test_files_that_others_may_read(tmp_path: Path) -> None:
    home, path = tmp_path / "home", tmp_path / "jobs.db"
    home.mkdir()
    (home / "acron.toml").write_text('tz = "UTC"')
    app = Acron(f"sqlite:///{path}", settings=Settings(home=str(home)))
    async with app.attached():
        path.chmod(0o644)
        (home / "acron.toml").chmod(0o644)
        found = [one for one in await examine(app_again(app)) if one.check == "permissions"]
        assert [(one.level, one.mend) for one in found] == [
            ("wrong", f"chmod 600 {path}"),
            ("advice", f"chmod 600 {home / 'acron.toml'}"),
        ]
        (home / "acron.toml").chmod(0o622)
        found = [one for one in await examine(app_again(app)) if one.check == "permissions"]
        assert [one.level for one in found] == ["wrong", "wrong"]


def app_again(app: Acron) -> Acron:
    return Acron(settings=app.settings)


async def test_a_full_disk_and_a_large_store(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=50 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(doctors, "_LARGE", 10)
    async with Acron(store) as app:
        await app.add("in 1h", Command("true"))
        found = await examine(Acron(store))
    assert said(found, "disk") == [("wrong", "50 MiB are free")]
    assert ("advice", "0.0 GiB") in said(found, "size")


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACRON_HOME", str(tmp_path))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("nothing is wrong\n")
    assert main(["add", "in 1h", "--command", "true"]) == 0
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"] is False
    (finding,) = [one for one in told["findings"] if one["level"] == "wrong"]
    assert finding["check"] == "daemon"
    (tmp_path / "acron.toml").write_text("tz = 'Nowhere'\n")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "WRONG  settings: " in out
    assert "unknown zone 'Nowhere'" in out
    assert out.splitlines()[1].startswith("       → correct it")
