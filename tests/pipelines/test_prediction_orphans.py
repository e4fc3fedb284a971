"""Models of predictions that were deleted while no worker ran are found, and ended."""

from collections.abc import Collection, Generator

from pipelines.engine.constants import NEVER
from pipelines.kafka.reader import Reader
from pipelines.matching.match import Key
from pipelines.operators.prediction.orphans import find_orphans
from pipelines.trainer.model_log import TaskId
from schemas.examples.columns import Examples, Outcomes, Questions, Task
from schemas.settings import Settings
from tests.pipelines.examples import task
from tests.pipelines.training import Training, a_history, a_log, published, store_examples


def found(settings: Settings, ended: Collection[Key]) -> list[Task]:
    reader = Reader(settings.bootstrap)
    steps: Generator[None, None, list[Task]]
    steps = find_orphans(settings.topics.models.name, ended, reader)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        tasks: list[Task] = end.value
        return tasks
    finally:
        reader.close()


def test_the_models_of_versions_that_have_ended_are_found_and_deleted_and_no_others(
    settings: Settings,
) -> None:
    gone, kept = task(), task()._replace(version=2, tag=8)
    store_examples(settings, [*a_log([a_history(gone, 0)]), *a_log([a_history(kept, 0)])])
    training = Training(settings).fold().commit(0)
    assert len(published(settings)) == 4

    ended = {Key("prediction", "shop", "buys", 1), Key("prediction", "shop", "other", 2)}
    (orphan,) = found(settings, ended)
    assert TaskId.of(orphan) == TaskId.of(gone)
    assert set(orphan.models) == set(gone.models)

    end = Examples(orphan, 3, 0, NEVER, Questions.none(1), Outcomes.none(), ended=True)
    store_examples(settings, [end])
    training = training.restarted().fold().commit(1_000)
    assert found(settings, ended) == []
    assert {record.version for record in published(settings).values()} == {2}
    training.close()
