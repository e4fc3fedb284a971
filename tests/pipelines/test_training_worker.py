"""A worker trains what is on the topic, exactly once, through kills."""

from itertools import pairwise

from pipelines.trainer.model_codec import spec_named
from pipelines.trainer.model_log import TaskId, model_key
from schemas.model_record import ModelRecord
from schemas.settings import Settings
from tests.conftest import HELD_PARTITIONS
from tests.events import await_equal
from tests.oracles.training import checksum
from tests.pipelines.examples import task
from tests.pipelines.models.as_river import same_bits, state
from tests.pipelines.river_training import river_after, state_in
from tests.pipelines.test_trainer import SGD
from tests.pipelines.training import (
    a_history,
    a_log,
    maturity_order,
    published,
    store_examples,
)
from tests.workers import WorkerProcess


def test_a_worker_that_is_killed_learns_every_question_once_and_equals_river(
    settings: Settings,
) -> None:
    of = task()
    key = model_key(TaskId.of(of), SGD)
    sources = [a_history(of, number, 1_500) for number in range(2)]
    log = a_log(sources)
    cuts = [0, 60, 130, 200, 270, len(log)]

    def position() -> int:
        record = published(settings).get(key)
        return 0 if record is None else record.position

    with WorkerProcess(settings) as worker:
        worker.await_partitions(HELD_PARTITIONS)
        for begin, end in pairwise(cuts):
            store_examples(settings, log[begin:end])
            if end == len(log):
                break
            # The worker has committed some of them when it is killed, or none, or all.
            await_equal(True, lambda: position() > begin)  # noqa: B023 (called in this turn alone)
            worker.kill()
            worker.start()
        learned = len(maturity_order(sources, log))

        def record() -> ModelRecord | None:
            return published(settings).get(key)

        await_equal(learned, lambda: 0 if (found := record()) is None else found.learned)
        assert worker.stop() == 0
        assert "Traceback" not in worker.output

    found = record()
    assert found is not None
    order = maturity_order(sources, log)
    river = river_after(of, spec_named(SGD), sources, order)
    assert same_bits(state_in(found.part("model")), state(river.model))
    ids = [(number, one.offset) for number, one in order]
    assert found.learned_ids == checksum(ids).to_bytes(8, "little") + learned.to_bytes(8, "little")
