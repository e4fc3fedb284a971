"""Whatever an operator raises fails the definition concerned, visibly, and nothing else.

Written once over every registered operator, and every stage at which the engine calls one: a
definition is named for the stage at which it raises, and `sound` raises nowhere. They run side by
side, all operators' in one engine, so that each would notice the faults of the others.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import pytest
from msgspec.structs import replace

from pipelines.engine.operator import AnyOperator
from pipelines.matching.selectors import HasObject
from pipelines.operators import OPERATORS
from schemas.settings import Settings
from services.broker import Broker
from tests.conftest import deployment
from tests.kafka import Record, produce, read_all
from tests.laws.entry import entry_of
from tests.pipelines.in_process import Engine, Named, Periods, published, put, store

T = TypeVar("T", bound=Callable[..., None])

NOW_MS: Final = time.time_ns() // 1_000_000
REASON: Final = "Fault: on purpose"
OF_STATE: Final = ["fold", "expire", "pack", "unlogged", "persons_of", "rows_of", "dump"]
OF_PUBLISHER: Final = ["changes", "expired", "aggregates"]
RUNNING: Final = [*OF_STATE, "apply", *OF_PUBLISHER]
BEGINNING: Final = ["selectors", "reads", "instance", "match"]
RESTORING: Final = ["unpack", "restored", "load-aggregates", "layout"]


MakeCase: TypeAlias = Callable[..., "Case"]


class Fault(Exception):
    """Raised by an operator on purpose."""


class Faults:
    """All operators, with definitions that raise at the stage that they are named for.

    `raised` are the definitions that have done so, while it was `on`.
    """

    def __init__(self) -> None:
        self.on = False
        self.raised: set[Named] = set()
        self.operators = tuple(map(self._faulty, OPERATORS))

    def _faulty(self, operator: AnyOperator) -> AnyOperator:
        name = operator.name

        def selectors(definition: Any) -> Any:
            if definition.id == "match" and self.on:
                self.raised.add(Named(name, "match"))
                return [HasObject(object=5)]  # type: ignore[arg-type] # which cannot be matched
            return self._raising(name, definition.id, "selectors", operator.selectors)(definition)

        def reads(definition: Any) -> Any:
            return self._raising(name, definition.id, "reads", operator.reads)(definition)

        def instance(definition: Any, lateness_ms: int) -> Any:
            make = self._raising(name, definition.id, "instance", operator.instance)
            made = make(definition, lateness_ms)
            for part, stage, method in (
                (made.aggregates, "load-aggregates", "load"),
                (made.aggregates, "apply", "apply"),
                *((made.state, of, of) for of in (*OF_STATE, "unpack", "restored", "load")),
            ):
                if hasattr(part, method):
                    call = self._raising(name, definition.id, stage, getattr(part, method))
                    setattr(part, method, call)
            return made

        def publisher(*args: Any) -> Any:
            made = operator.publisher(*args)
            for stage in (*OF_PUBLISHER, "forget"):
                setattr(made, stage, self._publishing(name, stage, getattr(made, stage)))
            return made

        return operator._replace(
            selectors=selectors, reads=reads, instance=instance, publisher=publisher
        )

    def _raising(
        self, operator: str, id_: str, stage: str, call: Callable[..., Any]
    ) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            if self.on and id_ == stage:
                self.raised.add(Named(operator, id_))
                raise Fault("on purpose")
            return call(*args, **named)

        return wrapped if id_ == stage else call

    def _publishing(
        self, operator: str, stage: str, call: Callable[..., None]
    ) -> Callable[..., None]:
        def wrapped(context: Any, of: Any) -> None:
            call(context, of)  # what was sent before something is raised must not be written
            for instance in [one for one, _ in of] if isinstance(of, list) else [of]:
                self._raising(operator, instance.key.id, stage, lambda: None)()

        return wrapped


class Figures(NamedTuple):
    """What is published at one moment of all definitions."""

    of: Mapping[Named, Periods]

    def failed(self, of: Named) -> str | None:
        """Why a definition has failed."""
        reason: str | None = self.of[of][1, None]["failed"]
        return reason

    def counted(self, of: Named, version: int = 1) -> dict[object, dict[str, Any]]:
        """What a version counts, without what says whose it is, when and with what outcome."""
        moving = {"position", "updated_at", "live_since", "clock", "complete_until"}
        other = {f"{of.kind}_id", "failed", *moving}
        return {
            period: {name: value for name, value in record.items() if name not in other}
            for (of_version, period), record in self.of[of].items()
            if of_version == version
        }


class Case:
    """An engine with faults on a deployment of its own, and a definition for each stage."""

    def __init__(self, settings: Settings, stages: Sequence[str], *, on: bool) -> None:
        self.settings = settings
        self.faults = Faults()
        self.faults.on = on
        self.define(*stages, "sound")
        self.happen("ann", NOW_MS)
        self.engine = Engine(settings, self.faults.operators).run()
        self.before = Figures(published(settings))

    def define(self, *ids: str) -> None:
        """Define something of every operator under each of the ids."""
        made = (Named(operator.name, id_) for operator in OPERATORS for id_ in ids)
        put(self.settings, {of: of.record(entry_of(of.kind).body) for of in made})

    def happen(self, person: str, at_ms: int) -> None:
        """A person does something."""
        store(self.settings, ["home"], at_ms, person)

    def restart(self) -> None:
        """End the engine, and start another one."""
        self.engine = self.engine.restarted(self.faults.operators)

    def after(self) -> Figures:
        """What is published by now, and of definitions that are made now, called `control`."""
        controls = [Named(operator.name, "control") for operator in OPERATORS]
        self.define("control")
        self.engine.await_definitions(
            lambda engine: (
                sum(key.id == "control" for key in engine.partition.instances) == len(controls)
            )
        )
        self.engine.run()
        found = Figures(published(self.settings))
        put(self.settings, dict.fromkeys(controls))
        self.engine.await_definitions(
            lambda engine: all(key.id != "control" for key in engine.partition.instances)
        )
        return found

    def close(self) -> None:
        self.engine.close()


@pytest.fixture(scope="module")
def make_case(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCase]:
    """Makes a case on a deployment of its own, in which the next commit logs what has changed."""
    with contextlib.ExitStack() as stack:

        def make(*stages: str, on: bool = False) -> Case:
            own = stack.enter_context(deployment(broker, tmp_path_factory.mktemp("faults")))
            case = Case(replace(own, checkpoint_interval_ms=0), stages, on=on)
            stack.callback(case.close)
            return case

        yield make


def of_every_operator(*stages: str) -> Callable[[T], T]:
    """Run a test for every registered operator and each of some stages."""
    operators = pytest.mark.parametrize("kind", [operator.name for operator in OPERATORS])
    return lambda test: operators(pytest.mark.parametrize("stage", stages)(test))


def assert_sound(figures: Figures, kind: str, id_: str = "sound") -> None:
    """A definition has not failed, and has the figures of one that was made afterwards."""
    of, control = Named(kind, id_), Named(kind, "control")
    assert figures.failed(of) is None
    assert figures.counted(of) == figures.counted(control)


class Ran(NamedTuple):
    """What was published before an epoch with faults, after it, and after a restart without."""

    case: Case
    after: Figures
    restarted: Figures


@pytest.fixture(scope="module")
def running(make_case: MakeCase) -> Ran:
    case = make_case(*RUNNING)
    case.faults.on = True
    case.happen("ben", NOW_MS + 60_000)
    case.engine.run()
    case.engine.snapshot()
    case.engine.commit()
    after = case.after()
    case.faults.on = False
    case.restart()
    case.happen("cem", NOW_MS + 120_000)
    return Ran(case, after, case.after())


@of_every_operator(*RUNNING)
def test_a_definition_that_raises_keeps_its_figures_and_says_why(
    running: Ran, kind: str, stage: str
) -> None:
    of = Named(kind, stage)
    if of not in running.case.faults.raised:  # the operator does not do that
        assert_sound(running.after, kind, stage)
        assert_sound(running.restarted, kind, stage)
        return
    assert running.case.before.failed(of) is None
    assert running.after.failed(of) == running.restarted.failed(of) == REASON
    # It is dumped when all that it counted is published.
    figures = running.after if stage == "dump" else running.case.before
    assert running.after.counted(of) == running.restarted.counted(of) == figures.counted(of)


@pytest.mark.parametrize("kind", [operator.name for operator in OPERATORS])
def test_the_others_count_on_beside_what_raises(running: Ran, kind: str) -> None:
    assert_sound(running.after, kind)
    assert_sound(running.restarted, kind)


def test_every_operator_is_called_at_the_stages_that_all_have(running: Ran) -> None:
    stages = {"fold", "apply", "changes", "aggregates"}
    assert {Named(one.name, stage) for one in OPERATORS for stage in stages} <= (
        running.case.faults.raised
    )


@pytest.fixture(scope="module")
def beginning(make_case: MakeCase) -> Ran:
    case = make_case(*BEGINNING, on=True)
    case.happen("ben", NOW_MS + 60_000)
    after = case.after()
    case.restart()
    return Ran(case, after, case.after())


@of_every_operator(*BEGINNING)
def test_a_definition_that_cannot_begin_says_why(beginning: Ran, kind: str, stage: str) -> None:
    of = Named(kind, stage)
    assert of in beginning.case.faults.raised
    for figures in (beginning.case.before, beginning.after, beginning.restarted):
        assert figures.failed(of)
    assert_sound(beginning.after, kind)
    assert_sound(beginning.restarted, kind)


def test_a_definition_that_could_not_begin_leaves_nothing_when_it_is_deleted(
    beginning: Ran,
) -> None:
    case = beginning.case
    broken = [Named(operator.name, stage) for operator in OPERATORS for stage in BEGINNING]
    put(case.settings, dict.fromkeys(broken))
    case.engine.await_definitions(
        lambda engine: all(key.id == "sound" for key in engine.partition.instances)
    )
    assert {of.id for of in published(case.settings)} == {"sound"}


@pytest.fixture(scope="module")
def restoring(make_case: MakeCase) -> Ran:
    case = make_case(*RESTORING)
    log_unknown_layout(case)
    case.faults.on = True
    case.restart()
    case.engine.commit()
    restarted = Figures(published(case.settings))
    case.happen("ben", NOW_MS + 60_000)
    return Ran(case, case.after(), restarted)


@of_every_operator(*RESTORING)
def test_a_definition_that_cannot_be_restored_keeps_its_figures_and_says_why(
    restoring: Ran, kind: str, stage: str
) -> None:
    of = Named(kind, stage)
    reason = restoring.restarted.failed(of)
    assert reason is not None
    assert "was not packed by layout" in reason if stage == "layout" else reason == REASON
    assert restoring.after.failed(of) == reason
    assert restoring.restarted.counted(of) == restoring.case.before.counted(of)
    assert restoring.after.counted(of) == restoring.case.before.counted(of)
    assert_sound(restoring.after, kind)


def log_unknown_layout(case: Case) -> None:
    """Log the rows of the definitions called `layout` again, in a layout of a later version."""
    topic = case.settings.topics.person_state.name
    tags = [
        int(instance.tag).to_bytes(8, "little")
        for key, instance in case.engine.partition.instances.items()
        if key.id == "layout"
    ]
    changed = []
    for message in read_all(case.settings.bootstrap, topic):
        value = message.value() or b""
        for tag in tags:
            if tag in value:
                row = value.index(tag) + 12
                value = value[:row] + b"\xff" + value[row + 1 :]
        if value != message.value():
            changed.append(Record(value, message.key(), message.partition() or 0))
    produce(case.settings.bootstrap, topic, changed)


@pytest.fixture(scope="module")
def loading(make_case: MakeCase) -> Ran:
    case = make_case("load")
    case.engine.snapshot()
    case.faults.on = True
    case.restart()
    case.happen("ben", NOW_MS + 60_000)
    figures = case.after()
    return Ran(case, figures, figures)


@pytest.mark.parametrize("kind", [operator.name for operator in OPERATORS])
def test_a_snapshot_that_cannot_be_loaded_is_ignored(loading: Ran, kind: str) -> None:
    assert loading.case.faults.raised
    assert_sound(loading.after, kind, "load")
    assert_sound(loading.after, kind)


@pytest.fixture(scope="module")
def ending(make_case: MakeCase) -> Ran:
    case = make_case("forget")
    case.faults.on = True
    put(case.settings, {Named(operator.name, "forget"): None for operator in OPERATORS})
    case.engine.await_definitions(
        lambda engine: all(key.id == "sound" for key in engine.partition.instances)
    )
    case.happen("ben", NOW_MS + 60_000)
    after = case.after()
    case.faults.on = False
    case.restart()
    return Ran(case, after, case.after())


@pytest.mark.parametrize("kind", [operator.name for operator in OPERATORS])
def test_what_could_not_be_deleted_is_deleted_by_the_next_worker(ending: Ran, kind: str) -> None:
    of = Named(kind, "forget")
    assert of in ending.case.faults.raised
    assert ending.after.counted(of) == ending.case.before.counted(of)
    assert of not in ending.restarted.of
    assert_sound(ending.after, kind)
    assert_sound(ending.restarted, kind)
