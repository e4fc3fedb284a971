"""Settings that let a consumer recover soon after a broker has restarted.

A restarting broker leads no partition for a moment. A consumer that fetches metadata just then
finds no leader and asks again at its next refresh, which librdkafka puts five minutes later.
"""

from typing import Final

CONSUMER_DEFAULTS: Final[dict[str, int]] = {"topic.metadata.refresh.interval.ms": 10_000}
