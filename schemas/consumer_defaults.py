"""What every consumer has that is to outlive a broker which goes away and comes back.

A broker that starts again leads no partition for a moment. A consumer that asks just then learns
so, and asks again with its next refresh: after five minutes, if it is left to librdkafka.
"""

from typing import Final

CONSUMER_DEFAULTS: Final[dict[str, int]] = {"topic.metadata.refresh.interval.ms": 10_000}
