"""Delivers batches and records to agents."""

from collections.abc import MutableSet
from typing import cast

from faust.topics import Topic
from faust.transport.conductor import Conductor as FaustConductor
from faust.types import TP, Message
from faust.types.transports import ConsumerCallback

from pipelines.worker.consumer import Consumer
from pipelines.worker.messages import Columns, single_messages


class Conductor(FaustConductor):
    """Delivers each batch to the agents of its topic, whole or record by record."""

    def _build_handler(self, tp: TP, channels: MutableSet[Topic]) -> ConsumerCallback:
        columnar = {channel for channel in channels if isinstance(channel.schema, Columns)}
        single = set(channels) - columnar
        deliver_batch = super()._build_handler(tp, columnar)
        deliver_record = super()._build_handler(tp, single)
        consumer = cast(Consumer, self.app.consumer)

        async def deliver(batch: Message) -> None:
            if columnar:
                consumer.delivered(batch)
                await deliver_batch(batch)
            if single:
                for record in single_messages(batch):
                    consumer.delivered(record)
                    await deliver_record(record)

        return deliver
