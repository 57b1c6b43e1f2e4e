"""Bolt's AsyncApp, with slash commands as Slack sends them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from slack_sdk.web.async_client import AsyncWebClient

from acron.integrations.slack import attach

if TYPE_CHECKING:
    from acron import Acron
    from acron.testing import RecordingAdapter
    from tests.integrations.chats import Platform


class Workspace:
    def __init__(self, slack: AsyncApp, platform: Platform) -> None:
        self._slack = slack
        self._platform = platform

    async def say(self, command: str, text: str = "", user: str = "U42") -> str:
        form = {
            "command": command,
            "text": text,
            "channel_id": "C7",
            "user_id": user,
            "team_id": "T1",
            "response_url": f"{self._platform.url}/commands/1",
        }
        before = len(self._platform.told)
        headers = {"content-type": "application/x-www-form-urlencoded"}
        request = AsyncBoltRequest(body=urlencode(form), headers=headers)  # type: ignore[arg-type]
        response = await self._slack.async_dispatch(request)
        assert response.status == 200
        async with asyncio.timeout(10):  # the answer comes after the acknowledgement
            while len(self._platform.told) == before:  # noqa: ASYNC110 (it is not ours)
                await asyncio.sleep(0.001)
        return self._platform.told[-1]


@pytest.fixture
def workspace(platform: Platform, app: Acron) -> Workspace:
    slack = AsyncApp(
        client=AsyncWebClient("xoxb-1", base_url=f"{platform.url}/api/"),
        signing_secret="secret",
        request_verification_enabled=False,
    )
    attach(slack, app)
    return Workspace(slack, platform)


async def test_a_reminder_is_asked_for_seen_delivered_and_ended(
    workspace: Workspace, app: Acron, chat: RecordingAdapter
) -> None:
    async with app:
        assert "tea" in await workspace.say("/remindme", "weekdays at 9am tea")
        (job,) = [job async for job in app.jobs()]
        assert job.deliver == ("slack:C7",)
        assert job.tags == ("user:slack:T1.U42", "chat:slack:C7")
        await app.run_now(job.id, wait=True)
        assert "no reminders" in await workspace.say("/schedules", user="U43")
        assert job.id in await workspace.say("/schedules")
        assert await workspace.say("/schedules", f"cancel {job.id}") == "Ended: tea"
    assert [message.to for message in chat.messages] == ["C7"]
