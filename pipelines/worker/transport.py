"""The Faust transport that delivers columns: `columnar://host:port`.

An app whose cluster needs more than addresses, such as credentials, has them in `App.cluster`.

Faust's own drivers hand an agent one record at a time, at some 120 µs each. This transport hands it
all that one fetch returned of a topic-partition as one `Records` value, and acknowledges, writes
and commits in the lockstep of `pipelines.worker.epochs`. The rest is Faust's: the app, agents,
streams, topics, the worker and its commands.

    Kafka thread                            event loop
    Epochs.fetch() ──▶ [Records, …] ──▶ Conductor ──▶ the stream of every agent
         ▲                                                │ each batch acknowledged
         └────────── Consumer waits for all of them ◀─────┘

An agent gets columns if its topic has the `Columns` schema, and single events otherwise; any number
of both may read one topic.

Some methods that Faust calls do nothing here: only epochs commit offsets, so `commit` does nothing;
nothing is buffered between epochs, so `wait_empty` has nothing to wait for and `seek` nothing to
move. `pipelines.worker.tables` keeps the state, and the app must name its manager. Faust's own
tables are refused, because their recovery needs the methods that do nothing here.
"""

from faust.transport import base

from pipelines.worker.conductor import Conductor
from pipelines.worker.consumer import Consumer
from pipelines.worker.producer import Producer


class Transport(base.Transport):
    """Joins the parts; `settings_of` says how a worker reads and commits.

    `broker_client_id` names the worker and is part of its transactional id: it must be the same
    when a worker is restarted, and differ between workers.
    """

    Consumer = Consumer
    Producer = Producer
    Conductor = Conductor
    default_port = 9092
    driver_version = "columnar"
