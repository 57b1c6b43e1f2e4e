from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Cli = Callable[..., Any]


@pytest.fixture
def broken(cli: Cli) -> str:
    """A job that has failed twice."""
    cli("add", "every 1h", "--command", "echo 'no \x1b[1mkettle' >&2; exit 3", "--id", "tea")
    for _ in range(2):
        assert cli("run-now", "tea").code == 1
    return "tea/1"


def test_nothing_wrong_is_nothing_said(cli: Cli) -> None:
    cli("add", "every 1h", "--command", "true", "--id", "tea")
    assert cli("incidents") == (0, "", "")
    assert cli("incidents", "--json").json == []


def test_what_is_open_is_shown_and_unhealthy(cli: Cli, broken: str) -> None:
    said = cli("incidents")
    assert said.code == 1
    head, row = said.out.splitlines()
    assert head.split() == ["ID", "STATE", "KIND", "TIMES", "LAST", "RUN", "ERROR"]
    assert row.split()[:4] == [broken, "alerted", "failure", "2"]
    assert "\x1b[1m" not in said.out
    told = cli("incidents", "--json")
    assert told.code == 1
    (one,) = told.json
    assert (one["id"], one["job_id"], one["state"]) == (broken, "tea", "alerted")
    assert (one["count"], one["kind"]) == (2, "failure")
    assert "exit" in one["error"]
    assert "1 open (see acron incidents)" in cli("status").out
    assert cli("status", "--json").json["incidents"] == 1


def test_what_is_acknowledged_is_no_more(cli: Cli, broken: str) -> None:
    assert cli("incidents", "ack", broken) == (0, f"{broken} acknowledged\n", "")
    assert cli("incidents") == (0, "", "")
    said = cli("incidents", "--all", "--json")
    assert said.code == 0
    assert [one["state"] for one in said.json] == ["acknowledged"]
    (again,) = cli("incidents", "ack", broken, "--json").json
    assert again == said.json[0]


def test_a_success_resolves(cli: Cli, broken: str) -> None:
    cli("edit", "tea", "--command", "true")
    assert cli("run-now", "tea").code == 0
    assert cli("incidents").code == 0
    assert [one["state"] for one in cli("incidents", "--all", "--json").json] == ["resolved"]
    assert broken in cli("incidents", "--all").out


@pytest.mark.parametrize("words", [("ack",), ("show", "tea/1"), ("tea/1",)])
def test_other_words_are_refused(cli: Cli, words: tuple[str, ...]) -> None:
    said = cli("incidents", *words)
    assert said.code == 2
    assert "ack ID" in said.err


def test_an_id_that_is_none_is_refused(cli: Cli, broken: str) -> None:
    for wrong in ("tea/2", "coffee/1", "tea"):
        said = cli("incidents", "ack", wrong)
        assert said.code == 1
        assert f"no incident {wrong!r}" in said.err
