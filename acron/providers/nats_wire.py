"""What acron says to NATS: one stream of schedules and triggers, one consumer that all share.

An instant is armed as a message with the header ``Nats-Schedule: @at …`` on a subject of its own,
``<namespace>.arm.<minute>.<shard>.<job id>.<microseconds>``; the server moves it to
``<namespace>.fire.<shard>`` when its time has come, and tells there which subject it had. So
subjects alone say what is armed, and no message need be read.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, unquote

from acron.abc import Armed
from acron.errors import ConfigError, ProviderDown
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence

    from acron.model import Settings

T = TypeVar("T")

#: The oldest server that knows schedules.
NEEDED = (2, 12)
#: A trigger is asked for so many seconds before its instant, and held here: the server looks at
#: its schedules four times a second.
LEAD = timedelta(seconds=1)
#: A trigger that is not acknowledged for so long is another node's: its node has died.
ACK_WAIT = 5.0
#: Seconds for one answer of the server.
ANSWER = 2.0
#: Seconds between signs of life on a pull, and how many may be missed.
HEARTBEAT, MISSED = 1.0, 3
#: Triggers that all nodes together may hold.
MAX_PENDING = 50_000
SHARDS = "0123456789abcdef"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Trigger(NamedTuple):
    """An instant that the server says is due; ``message`` is what is acknowledged."""

    armed: Armed
    message: Any
    deliveries: int


class Wire(Protocol):
    """A connection to the server. Whatever fails is a ProviderDown."""

    async def open(self) -> None: ...
    async def close(self) -> None:
        """Safe twice, and before ``open``."""

    async def arm(self, wanted: Sequence[Armed]) -> None:
        """Durable when it returns. What is armed already is replaced."""

    async def armed(self, minute: datetime) -> set[Armed]:
        """What is armed in the minute that begins then."""
        ...

    async def disarm(self, orphans: Collection[Armed]) -> None: ...
    async def pull(self, limit: int) -> list[Trigger]:
        """Triggers for this node; empty now and then."""
        ...

    async def ack(self, trigger: Trigger) -> None:
        """It is settled."""

    async def nak(self, trigger: Trigger, delay: float) -> None:
        """Give it to some node again, in so many seconds."""


class Subjects:
    """How an instant is written as a subject, and read back."""

    def __init__(self, namespace: str) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            message = f"must be letters, digits, - and _, not {namespace[:80]!r}"
            raise ConfigError(message, where="nats_namespace")
        self.stream = f"ACRON_{namespace}"
        self.all = [f"{namespace}.arm.>", f"{namespace}.fire.*"]
        self.due = f"{namespace}.fire.*"
        self._prefix = f"{namespace}.arm"
        self._target = f"{namespace}.fire"

    def of(self, one: Armed) -> str:
        micros = (one.instant - _EPOCH) // timedelta(microseconds=1)
        job_id = quote(one.job_id, safe="").replace(".", "%2E")
        return f"{self.minute(one.instant, shard(one.job_id))[:-1]}{job_id}.{micros}"

    def target(self, one: Armed) -> str:
        return f"{self._target}.{shard(one.job_id)}"

    def minute(self, minute: datetime, of_shard: str = "*") -> str:
        """The filter for what is armed in a minute."""
        return f"{self._prefix}.{minute.astimezone(UTC):%Y%m%d%H%M}.{of_shard}.>"

    def read(self, subject: str) -> Armed | None:
        """None for a subject that is not ours."""
        parts = subject.removeprefix(f"{self._prefix}.").split(".")
        if len(parts) != 4 or not parts[3].isdecimal():
            return None
        return Armed(unquote(parts[2]), _EPOCH + timedelta(microseconds=int(parts[3])))


def shard(job_id: str) -> str:
    """One of ``SHARDS``, always the same for a job."""
    return SHARDS[zlib.crc32(job_id.encode()) % len(SHARDS)]


class NatsWire:
    """``Wire`` by nats-py. A connection that breaks stays broken: open another."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.subjects = Subjects(settings.nats_namespace)
        self._client: Any = None
        self._js: Any = None
        self._queue: asyncio.Queue[Trigger | None] = asyncio.Queue()
        self._inbox = ""
        self._outstanding = 0
        self._heard = 0.0
        self._why: Exception | None = None

    async def open(self) -> None:
        await self._answered(self._open(), 2 * ANSWER)

    async def _open(self) -> None:
        import nats  # noqa: PLC0415 (an extra)

        given = self._settings
        self._client = client = await nats.connect(
            [url.strip() for url in given.nats_url.split(",")],
            name="acron",
            allow_reconnect=False,
            max_reconnect_attempts=1,  # of a server; 0 would be endless, and none is not offered
            reconnect_time_wait=0.05,
            connect_timeout=2,
            error_cb=self._failed,
            closed_cb=self._closed,
            tls=_tls(given),
            user_credentials=_credentials(given),
        )
        version = client.connected_server_version
        if (version.major, version.minor) < NEEDED:
            told = f"nats-server {version.major}.{version.minor} has no message schedules"
            raise ProviderDown(f"{told}; {NEEDED[0]}.{NEEDED[1]} or later is needed")
        self._js = client.jetstream(timeout=ANSWER, publish_async_max_pending=10_000)
        await self._prepare()
        self._inbox = client.new_inbox()
        await client.subscribe(self._inbox, cb=self._received, pending_msgs_limit=-1)

    async def _prepare(self) -> None:
        """The stream and the consumer, as this acron needs them."""
        from nats.js import api, errors  # noqa: PLC0415

        wanted = api.StreamConfig(
            name=self.subjects.stream,
            subjects=self.subjects.all,
            retention=api.RetentionPolicy.WORK_QUEUE,
            storage=api.StorageType.FILE,
            num_replicas=self._settings.nats_replicas,
            allow_rollup_hdrs=True,
            allow_msg_schedules=True,
        )
        try:
            found = (await self._js.stream_info(self.subjects.stream)).config
        except errors.NotFoundError:
            await self._js.add_stream(wanted)
        else:
            if found.num_replicas != wanted.num_replicas or not found.allow_msg_schedules:
                await self._js.update_stream(wanted)
        consumer = api.ConsumerConfig(
            durable_name="nodes",
            filter_subject=self.subjects.due,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            max_ack_pending=MAX_PENDING,
        )
        await self._js.add_consumer(self.subjects.stream, consumer)

    async def _failed(self, error: Exception) -> None:
        self._why = error  # what is raised says only that no server is left

    async def _closed(self) -> None:
        self._queue.put_nowait(None)  # whoever waits is to see it

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            async with asyncio.timeout(ANSWER):
                await client.close()

    # arming

    async def arm(self, wanted: Sequence[Armed]) -> None:
        acks = []
        for one in wanted:
            headers = {
                "Nats-Schedule": f"@at {one.instant.astimezone(UTC) - LEAD:%Y-%m-%dT%H:%M:%S.%fZ}",
                "Nats-Schedule-Target": self.subjects.target(one),
            }
            send = self._js.publish_async(self.subjects.of(one), b"", headers=headers)
            acks.append(await self._answered(send))
        if acks:
            await self._answered(asyncio.gather(*acks), 2 * ANSWER)

    async def armed(self, minute: datetime) -> set[Armed]:
        found, total = await self._page(self.subjects.minute(minute), 0)
        if total > len(found):
            found = set()
            for one in SHARDS:
                found |= await self._pages(self.subjects.minute(minute, one))
        return {armed for armed in map(self.subjects.read, found) if armed is not None}

    async def _pages(self, wanted: str) -> set[str]:
        found, total = await self._page(wanted, 0)
        read = len(found)
        while read < total:
            more, total = await self._page(wanted, read)
            if not more:
                break
            read += len(more)
            found |= more
        return found

    async def _page(self, wanted: str, offset: int) -> tuple[set[str], int]:
        """Subjects of the stream, and how many there are."""
        asked = json.dumps({"subjects_filter": wanted, "offset": offset}).encode()
        told = await self._request(f"STREAM.INFO.{self.subjects.stream}", asked)
        subjects = told.get("state", {}).get("subjects") or {}
        return set(subjects), int(told.get("total") or len(subjects))

    async def _request(self, what: str, asked: bytes) -> dict[str, Any]:
        send = self._client.request(f"$JS.API.{what}", asked, timeout=10 * ANSWER)
        told: dict[str, Any] = json.loads((await self._answered(send, 10 * ANSWER)).data)
        if "error" in told:
            raise ProviderDown(f"{what.partition('.')[0]}: {told['error'].get('description')}")
        return told

    async def disarm(self, orphans: Collection[Armed]) -> None:
        for one in orphans:
            asked = json.dumps({"filter": self.subjects.of(one)}).encode()
            await self._request(f"STREAM.PURGE.{self.subjects.stream}", asked)

    # triggers

    async def pull(self, limit: int) -> list[Trigger]:
        loop = asyncio.get_running_loop()
        if self._outstanding <= 0:
            self._outstanding = limit
            self._heard = loop.time()
            ask = {"batch": limit, "expires": int(20e9), "idle_heartbeat": int(HEARTBEAT * 1e9)}
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.subjects.stream}.nodes"
            message = json.dumps(ask).encode()
            await self._answered(self._client.publish(subject, message, reply=self._inbox))
        try:
            async with asyncio.timeout(HEARTBEAT):
                found = [await self._queue.get()]
        except TimeoutError:
            found = []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        if self._client.is_closed:
            raise ProviderDown("the connection was lost")
        if loop.time() - self._heard > MISSED * HEARTBEAT:
            raise ProviderDown(f"no sign of life of its consumer for {MISSED * HEARTBEAT:g} s")
        return [one for one in found if one is not None]

    async def _received(self, message: Any) -> None:
        self._heard = asyncio.get_running_loop().time()
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "100":
            return
        if status is not None:  # this pull has ended
            self._outstanding = 0
            self._queue.put_nowait(None)
            return
        self._outstanding -= 1
        armed = self.subjects.read(headers.get("Nats-Scheduler", ""))
        if armed is None:
            await message.term()  # a stranger's; nobody could make anything of it
        else:
            number = message.metadata.num_delivered or 1
            self._queue.put_nowait(Trigger(armed, message, number))

    async def ack(self, trigger: Trigger) -> None:
        await self._answered(self._client.publish(trigger.message.reply, b"+ACK"))

    async def nak(self, trigger: Trigger, delay: float) -> None:
        told = b"-NAK " + json.dumps({"delay": int(delay * 1e9)}).encode()
        await self._answered(self._client.publish(trigger.message.reply, told))

    async def _answered(self, work: Awaitable[T], seconds: float = ANSWER) -> T:
        """What the server answers; whatever fails is a ProviderDown."""
        import nats.errors  # noqa: PLC0415

        try:
            async with asyncio.timeout(seconds):
                return await work
        except nats.errors.NoServersError as error:
            raise ProviderDown(_reason(self._why or error)) from error
        except (nats.errors.Error, OSError, ValueError) as error:
            raise ProviderDown(_reason(error)) from error
        except TimeoutError:
            raise ProviderDown(f"no answer for {seconds:g} s") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror, 200)
    return one_line(str(error) or type(error).__name__, 200)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not (settings.nats_tls_ca or settings.nats_tls_cert):
        return None
    context = ssl.create_default_context(cafile=settings.nats_tls_ca or None)
    if settings.nats_tls_cert:
        context.load_cert_chain(settings.nats_tls_cert, settings.nats_tls_key or None)
    return context


def _credentials(settings: Settings) -> str | None:
    """The file, and it can be read: the client would find out late, and stay connected."""
    path = settings.nats_credentials
    if path:
        Path(path).open("rb").close()
    return path or None
