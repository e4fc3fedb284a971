"""The configuration of topics, and where that of an existing topic differs from its declaration."""

from typing import Final, NamedTuple

from confluent_kafka.admin import NewTopic

from schemas.topic import FOREVER, Topic

# Every restore reads a compacted topic whole, and Kafka never compacts the newest segment: smaller
# segments that are cleaned earlier keep the topic close to one record a key.
_COMPACT: Final = {"segment.bytes": str(64 << 20), "min.cleanable.dirty.ratio": "0.2"}


# Kafka deletes a segment by the timestamps in it, or by the size of the partition. Producers may
# set timestamps of long ago, as MirrorMaker and backfills do, and a cluster may have a size by
# default: either would delete records that were acknowledged before their time.
NOT_BY_DEFAULT: Final = ("message.timestamp.type", "retention.bytes")


class TopicState(NamedTuple):
    """A topic as the broker describes it."""

    name: str
    partitions: int
    cleanup: str
    retention_ms: int
    max_message_bytes: int
    # What it has of `NOT_BY_DEFAULT`.
    others: dict[str, str]


def kept(topic: Topic) -> dict[str, str]:
    """Return the configuration that keeps the records of a topic until their time is over."""
    if topic.cleanup != "delete":
        return {}
    config = {"retention.bytes": "-1"}
    if topic.retention_ms != FOREVER:
        config["message.timestamp.type"] = "LogAppendTime"
    return config


def corrections(topic: Topic, state: TopicState) -> dict[str, str]:
    """Return what of `kept` an existing topic lacks."""
    return {key: value for key, value in kept(topic).items() if state.others[key] != value}


def new_topic(topic: Topic, partitions: int, replication_factor: int) -> NewTopic:
    """Return the topic to create."""
    config = {
        "cleanup.policy": topic.cleanup,
        # With three replicas, acks=all means that two have the record, and one broker may be down.
        "min.insync.replicas": str(max(1, replication_factor - 1)),
    }
    if topic.max_message_bytes:
        config["max.message.bytes"] = str(topic.max_message_bytes)
    if topic.cleanup == "delete":
        config["retention.ms"] = str(topic.retention_ms)
        config |= kept(topic)
    else:
        config |= _COMPACT
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions or partitions,
        replication_factor=replication_factor,
        config=config,
    )


def differences(topic: Topic, state: TopicState, partitions: int) -> list[str]:
    """Return where an existing topic differs, and what to do about each."""
    declared = topic.partitions or partitions
    found = []
    if state.partitions != declared:
        remedy = (
            "recreate it"
            if topic.partitions
            else f"set AVILA_PARTITIONS={state.partitions} or another AVILA_TOPIC_PREFIX"
        )
        found.append(
            f"topic {topic.name} has {state.partitions} partitions, {declared} are declared: "
            f"{remedy}"
        )
    if state.cleanup != topic.cleanup:
        found.append(
            f"topic {topic.name} has cleanup.policy={state.cleanup}, {topic.cleanup} is declared: "
            "alter its configuration"
        )
    elif topic.cleanup == "delete" and state.retention_ms != topic.retention_ms:
        found.append(
            f"topic {topic.name} has retention.ms={state.retention_ms}, "
            f"{topic.retention_ms} is declared: alter its configuration"
        )
    if state.max_message_bytes < topic.min_message_bytes:
        found.append(
            f"topic {topic.name} has max.message.bytes={state.max_message_bytes}, at least "
            f"{topic.min_message_bytes} are declared: alter its configuration"
        )
    return found
