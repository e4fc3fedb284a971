"""Slack, e-mail and topics of Kafka: real servers of this machine, real messages."""

import asyncio
import contextlib
import email
import email.policy
import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from schemas.notices.delivery import Message
from schemas.notices.subscription import Subscription, SubscriptionDefinition, decode_subscription
from schemas.settings import Settings
from services.webhooks.senders import Sender
from services.webhooks.texts import line_of
from tests.kafka import create_topic, read_all
from tests.services.webhooks.receiver import receiving


def message(event_type: str = "incident.opened", **data: object) -> Message:
    body = {"type": event_type, "timestamp": "2026-11-22T10:00:00.000Z", "data": data}
    return Message(id="msg_1", key="k", type=event_type, created_at=0, body=json.dumps(body))


def told(destination: dict[str, object]) -> SubscriptionDefinition:
    body = msgspec.json.encode({"destination": destination})
    subscription: Subscription = decode_subscription(body)
    return SubscriptionDefinition(
        project_id="shop",
        id="ops",
        version=1,
        created_at=1,
        updated_at=1,
        subscription=subscription,
    )


class MailServer:
    """A mail server that keeps what it takes, and refuses what comes for `nobody@…`."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        to: list[str] = []
        await say("220 mail.example")
        while line := (await reader.readline()).decode().strip():
            match line.split()[0].upper():
                case "RCPT":
                    refused = "nobody@" in line
                    to += [] if refused else [line.partition("<")[2].partition(">")[0]]
                    await say("550 there is no such mailbox" if refused else "250 ok")
                case "DATA":
                    await say("354 go on")
                    text = await reader.readuntil(b"\r\n.\r\n")
                    self.mails.append((to, text))
                    await say("250 taken")
                case "QUIT":
                    await say("221 bye")
                    break
                case _:
                    await say("250 ok")
        writer.close()


@contextlib.asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[MailServer, str]]:
    made = MailServer()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        yield made, f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_slack_gets_a_line_in_which_nothing_is_markup(settings: Settings) -> None:
    async with receiving() as receiver:
        made = told({"type": "slack", "url": receiver.url})
        answer = await Sender(settings).send(made, message(text="<!channel> a & b"))
        assert answer.ok
        (got,) = receiver.received
    assert json.loads(got.body) == {"text": "&lt;!channel&gt; a &amp; b"}
    assert "webhook-signature" not in got.headers


async def test_an_incident_goes_by_mail_to_all_recipients(settings: Settings) -> None:
    async with mail_server() as (server, url):
        own = msgspec.structs.replace(settings, smtp_url=url, smtp_from="avila@shop.example")
        made = told({"type": "email", "to": ["ada@shop.example", "nobody@shop.example"]})
        text = "Orders: the metric orders is 3,\r\nBcc: evil@x.example below 10"
        answer = await Sender(own).send(made, message(text=text, value=3))
    assert (answer.ok, answer.reason) == (True, "refused for nobody@shop.example")
    ((to, raw),) = server.mails
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert to == ["ada@shop.example"]
    assert mail["Subject"].startswith("[Avila] Orders: the metric orders is 3, Bcc: evil")
    assert mail["Bcc"] is None
    assert "value: 3" in mail.get_content()


async def test_a_mailbox_that_does_not_exist_says_so(settings: Settings) -> None:
    async with mail_server() as (_, url):
        own = msgspec.structs.replace(settings, smtp_url=url, smtp_from="avila@shop.example")
        answer = await Sender(own).send(
            told({"type": "email", "to": ["nobody@shop.example"]}), message(text="x")
        )
    assert not answer.ok
    assert "no such mailbox" in answer.reason


async def test_a_topic_that_a_setting_names_is_written_to_and_no_other(settings: Settings) -> None:
    topic = f"other-{settings.topic_prefix}"
    create_topic(settings.cluster, topic, partitions=1)
    own = msgspec.structs.replace(settings, notice_topics=f"x, {topic}")
    made = told({"type": "kafka", "topic": topic})
    assert (await Sender(own).send(made, message())).ok
    (record,) = read_all(settings.cluster, topic)
    assert (record.key(), record.headers()) == (b"k", [("webhook-id", b"msg_1")])
    assert record.value() == message().body.encode()
    refused = await Sender(settings).send(made, message())
    assert refused.reason == f"AVILA_NOTICE_TOPICS does not name {topic}"


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (message(text="a\nb"), "a b"),
        (
            message("segment.entered", segment_id="buyers", person_id="ada"),
            "segment.entered of buyers by ada",
        ),
        (message("model.drift", prediction_id="buys"), "model.drift of buys"),
    ],
)
def test_a_message_is_one_line(made: Message, line: str) -> None:
    assert line_of(made) == line
