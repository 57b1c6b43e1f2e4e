"""A rolling restart, as somebody in a shell would do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.conftest import Acron


def test_a_node_is_shown_and_drained_from_another_shell(acron: Acron) -> None:
    assert "no nodes" in acron("nodes")
    assert "no live node" in acron("drain", "web", code=1)
    acron("add", "every 1h", "--command", "true", "--id", "a")
    process = acron.start()
    (node,) = [one for one in acron.json("nodes") if one["provider"]]
    assert (node["state"], node["provider"]) == ("ok", "inprocess")
    assert node["id"] in acron("nodes")
    assert "say which node" in acron("drain", code=2)
    assert f"{node['id']} drains, 0 runs to end" in acron("drain", node["id"][:-1])
    (node,) = [one for one in acron.json("nodes") if one["provider"]]
    assert node["state"] == "draining"
    assert process.poll() is None, "it waits to be stopped"
    assert acron.json("status")["state"] == "draining"
    acron.stop(process)
