"""Crontabs, as crontab(5) has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, JobConflict
from acron.moving import Found, LeftOut, Report
from acron.moving.crontab import read_crontab
from acron.moving.plant import plant
from acron.specs import Command

if TYPE_CHECKING:
    from acron.testing import VirtualTime


def read(text: str, *, system: bool = False) -> Found:
    return read_crontab(text, user="ana", home="/home/ana", system=system)


def one(text: str, *, system: bool = False) -> dict[str, Any]:
    found = read(text, system=system)
    assert found.left_out == []
    (draft,) = found.drafts
    return {key: value for key, value in draft.record.items() if key != "id"}


@pytest.mark.parametrize(
    "line,schedule,command",
    [
        ("0 3 * * * backup.sh", "0 3 * * *", "backup.sh"),
        ("  */5\t9-17 * * MON-FRI   echo  a b ", "*/5 9-17 * * MON-FRI", "echo  a b"),
        ("@daily backup.sh", "@daily", "backup.sh"),
        ("@Reboot  start # it", "@reboot", "start # it"),
        ("@every_minute beat", "* * * * *", "beat"),
        ("-0 3 * * 7 quiet", "0 3 * * 7", "quiet"),
        ("0 3 * * * A=b c", "0 3 * * *", "A=b c"),
        (r"0 3 * * * date +\%F", "0 3 * * *", "date +%F"),
    ],
)
def test_an_entry(line: str, schedule: str, command: str) -> None:
    assert one(line) == {"schedule": schedule, "command": command, "cwd": "/home/ana"}


@pytest.mark.parametrize(
    "text,command,stdin",
    [
        ("mail bob%Hello%there", "mail bob", "Hello\nthere\n"),
        (r"mail 50\%%100\% sure%", "mail 50%", "100% sure\n"),
        ("cat%", "cat", ""),
        ("cat%%", "cat", "\n"),
        ("cat %  kept  ", "cat", "  kept  \n"),
    ],
)
def test_percent_signs(text: str, command: str, stdin: str) -> None:
    found = one(f"0 3 * * * {text}")
    assert (found["command"], found["stdin"]) == (command, stdin)


def test_variables_hold_for_what_follows() -> None:
    text = """
    # a comment
    PATH = "/opt/bin:/bin"
    0 1 * * * first
    SHELL=/bin/bash
    CRON_TZ=Europe/Paris
    'GREETING'='a = b'
    HOME=/srv
    MAILTO=""
    0 2 * * * second
    """
    found = read(text)
    first, second = (draft.record for draft in found.drafts)
    assert first["env"] == {"PATH": "/opt/bin:/bin"}
    assert "tz" not in first
    assert "deliver" not in first
    assert second["command"] == ["/bin/bash", "-c", "second"]
    assert second["tz"] == "Europe/Paris"
    assert second["cwd"] == "/srv"
    assert second["env"] == {
        "PATH": "/opt/bin:/bin",
        "SHELL": "/bin/bash",
        "GREETING": "a = b",
        "HOME": "/srv",
    }
    assert second["deliver"] == []
    assert found.left_out == []
    assert [draft.where for draft in found.drafts] == ["line 4", "line 10"]


def test_what_has_no_equivalent_is_told() -> None:
    found = read("MAILTO=ana@example.org\nTZ=Asia/Tokyo\n0 3 * * * a\nnonsense\n0 3 * *\n@daily\n")
    assert "--deliver email:ana@example.org" in found.left_out[0].why
    assert [(one.where, one.what) for one in found.left_out] == [
        ("line 1", "MAILTO=ana@example.org"),
        ("line 2", "TZ=Asia/Tokyo"),
        ("line 4", "nonsense"),
        ("line 5", "0 3 * *"),
        ("line 6", "@daily"),
    ]
    (draft,) = found.drafts
    assert draft.record["env"] == {"TZ": "Asia/Tokyo"}


def test_the_system_form_has_users() -> None:
    text = (
        "17 * * * * root run-parts\n@daily  ana\tbackup now\n0 3 * * *  ana   other\n0 4 * * * ana"
    )
    found = read(text, system=True)
    assert [draft.record["command"] for draft in found.drafts] == ["backup now", "other"]
    other, broken = found.left_out
    assert other.where == "line 1"
    assert "runs as root, and acron here as ana" in other.why
    assert broken.where == "line 4"


def test_ids_are_the_same_each_time_and_tell_entries_apart() -> None:
    text = (
        "0 3 * * * /usr/bin/backup.sh -v\n0 4 * * * A=1 backup.sh\n0 3 * * * /usr/bin/backup.sh -v"
    )
    ids = [draft.record["id"] for draft in read(text).drafts]
    assert ids == [draft.record["id"] for draft in read("#\n" + text).drafts]
    assert len(set(ids)) == 3
    assert all(one.startswith("backup-") for one in ids)
    assert ids[2] == f"{ids[0]}-2"


@pytest.mark.parametrize(
    "text", ["0 3 * * * 'unclosed", "0 3 * * * $(x)", "0 3 * * * ///", "@daily ☕"]
)
async def test_any_command_gets_an_id(text: str, acron_time: VirtualTime) -> None:
    async with Acron("memory://", clock=acron_time.clock) as app:
        report = Report()
        await plant(app, read(text), report)
        assert report == Report(added=1)


async def test_a_crontab_runs(acron_time: VirtualTime) -> None:
    text = "CRON_TZ=Asia/Tokyo\nGREET=hi\n* * * * * cat; echo $GREET%line%two\n"
    async with Acron("memory://", clock=acron_time.clock) as app:
        await plant(app, read_crontab(text, user="ana", home="/"), Report())
        (job,) = [job async for job in app.jobs()]
        assert job.tz == "Asia/Tokyo"
        run = await app.run_now(job.id, wait=True)
        assert run.output == "line\ntwo\nhi\n"


async def test_planting_twice_changes_nothing_and_a_bad_entry_is_left_out(
    acron_time: VirtualTime,
) -> None:
    text = (
        "0 3 * * * good\n0 3 31 2 * never\n99 3 * * * wrong\nCRON_TZ=Mars/Olympus\n0 3 * * * lost"
    )
    async with Acron("memory://", clock=acron_time.clock, tz="Europe/Paris") as app:
        dry = Report()
        await plant(app, read(text), dry, dry_run=True)
        assert [job async for job in app.jobs()] == []
        report = Report()
        ((verdict, job),) = await plant(app, read(text), report)
        assert report == dry
        assert verdict == "added"
        assert (job.tz, job.action) == ("Europe/Paris", Command("good", cwd="/home/ana"))
        assert [(one.where, type(one)) for one in report.left_out] == [
            ("line 2", LeftOut),
            ("line 3", LeftOut),
            ("line 5", LeftOut),
        ]
        assert "never fires" in report.left_out[0].why
        assert "Mars/Olympus" in report.left_out[2].why
        await app.pause(job.id, "tired")
        again = Report()
        await plant(app, read(text), again)
        assert (again.added, again.unchanged) == (0, 1)
        assert (await app.get(job.id)).paused == "tired"


async def test_another_job_of_the_id_is_a_conflict(acron_time: VirtualTime) -> None:
    found = read("0 3 * * * good")
    job_id = found.drafts[0].record["id"]
    async with Acron("memory://", clock=acron_time.clock) as app:
        await app.add("every 1h", Command("mine"), id=job_id)
        with pytest.raises(JobConflict, match=job_id):
            await plant(app, found, Report())
        report = Report()
        await plant(app, found, report, on_conflict="keep")
        assert report == Report(kept=1)
        assert (await app.get(job_id)).action == Command("mine")
        await plant(app, found, report, on_conflict="replace")
        assert (await app.get(job_id)).schedule == "0 3 * * *"
