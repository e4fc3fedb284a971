"""Lets the sink go on after what the store has, once the store was restored from a backup.

The offsets that Kafka has for the sink may be beyond what the restored store has. So the restore
leaves a file; the sink then forgets its offsets, and finds where to continue in the store itself
(`sinks.resume`), as it does when Kafka has forgotten them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.cluster import client_config
from schemas.errors import Unavailable
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_TIMEOUT_S: Final = 30.0
_NO_GROUP: Final = {KafkaError.GROUP_ID_NOT_FOUND}


def follow_file(settings: Settings) -> Path:
    """Return the file that a restore leaves for the sink."""
    return settings.data_dir / "sink-follows-store"


def follow_restored_store(settings: Settings, groups: Sequence[str]) -> None:
    """Forget the offsets of the sink's groups if the store was restored; blocks on Kafka.

    Calling it again changes nothing.

    Raises:
        Unavailable: Kafka does not answer, or another sink uses a group: stop it.
    """
    file = follow_file(settings)
    if not file.exists():
        return
    admin = AdminClient(client_config(settings.cluster, {"log_level": 0}))
    for group, done in admin.delete_consumer_groups(
        list(groups), request_timeout=_TIMEOUT_S
    ).items():
        try:
            done.result(_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in _NO_GROUP:
                raise Unavailable(
                    f"the offsets of the group {group} cannot be deleted, which the restored store "
                    f"needs: {error.args[0].str()}; stop all other sinks"
                ) from error
    file.unlink(missing_ok=True)
    log.warning("continuing after what the restored store has", groups=list(groups))
