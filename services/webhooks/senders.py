"""Sends one message to its destination, whichever kind that is."""

import asyncio
import time
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from schemas.cluster import client_config
from schemas.errors import Misconfigured
from schemas.notices.delivery import Message
from schemas.notices.secret import secrets_of, webhook_key
from schemas.notices.subscription import (
    EmailDestination,
    KafkaDestination,
    SlackDestination,
    SubscriptionDefinition,
    WebhookDestination,
)
from schemas.settings import Settings
from services.webhooks.addresses import read_networks
from services.webhooks.mail import send_mail
from services.webhooks.post import Answer, post
from services.webhooks.signing import signature_headers
from services.webhooks.texts import slack_body

log = structlog.get_logger(__name__)

_TAKEN: Final = 200
_KAFKA_TIMEOUT_MS: Final = 10_000


def allowed_topics(settings: Settings) -> list[str]:
    """Return the topics that subscriptions may write to."""
    return [topic.strip() for topic in settings.notice_topics.split(",") if topic.strip()]


class Sender:
    """Sends messages. Use it on one event loop, and `close` it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed = read_networks(settings.webhook_networks)
        self._producer: Producer | None = None
        self._mails = asyncio.Semaphore(4)
        try:
            self._key = webhook_key(settings)
        except Misconfigured as error:
            log.warning("webhooks_unsigned", reason=str(error))
            self._key = b""

    async def send(self, definition: SubscriptionDefinition, message: Message) -> Answer:
        """Send a message as its subscription says; raises nothing that a receiver can cause."""
        match definition.subscription.destination:
            case WebhookDestination(url=url):
                return await self._webhook(definition, url, message)
            case SlackDestination(url=url):
                return await post(url, slack_body(message), {}, self._allowed)
            case EmailDestination(to=to):
                async with self._mails:
                    return await asyncio.to_thread(send_mail, self._settings, to, message)
            case KafkaDestination(topic=topic):
                return await self._kafka(topic, message)

    def close(self) -> None:
        """Wait for what is being written to Kafka."""
        if self._producer is not None:
            self._producer.flush(_KAFKA_TIMEOUT_MS / 1_000)

    async def _webhook(
        self, definition: SubscriptionDefinition, url: str, message: Message
    ) -> Answer:
        if not self._key:
            return Answer(0, "AVILA_WEBHOOK_KEY is not set: webhooks cannot be signed")
        now_ms = time.time_ns() // 1_000_000
        body = message.body.encode()
        secrets = secrets_of(self._key, definition, now_ms)
        headers = signature_headers(message.id, body, secrets, now_ms // 1_000)
        return await post(url, body, headers, self._allowed)

    async def _kafka(self, topic: str, message: Message) -> Answer:
        if topic not in allowed_topics(self._settings):
            return Answer(0, f"AVILA_NOTICE_TOPICS does not name {topic}")
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer) -> None:
            if not settled.done():
                settled.set_result(answer)

        def delivered(error: KafkaError | None, _: KafkaMessage) -> None:
            answer = Answer(_TAKEN) if error is None else Answer(0, error.str())
            loop.call_soon_threadsafe(settle, answer)

        producer = self._open_producer()
        try:
            producer.produce(
                topic,
                message.body.encode(),
                message.key.encode(),
                headers=[("webhook-id", message.id.encode())],
                on_delivery=delivered,
            )
        except (KafkaException, BufferError) as error:
            return Answer(0, str(error))
        while not settled.done():
            await asyncio.to_thread(producer.poll, 0.1)
            await asyncio.sleep(0)
        return settled.result()

    def _open_producer(self) -> Producer:
        if self._producer is None:
            config: dict[str, object] = {
                "enable.idempotence": True,
                "linger.ms": 0,
                "delivery.timeout.ms": _KAFKA_TIMEOUT_MS,
                "log_level": 0,
            }
            self._producer = Producer(client_config(self._settings.cluster, config))
        return self._producer
