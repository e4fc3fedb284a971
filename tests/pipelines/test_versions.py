"""What becomes of counted definitions when their records change, or cannot be read."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from msgspec.structs import replace

from pipelines.engine.instance import AnyInstance
from pipelines.operators import OPERATORS
from schemas.operators import OPERATORS as SPECS
from schemas.settings import Settings
from services.broker import Broker
from tests.conftest import deployment
from tests.events import Results, segmented
from tests.kafka import Record, read_all
from tests.laws.entry import entry_of
from tests.pipelines.in_process import PARTITION, Engine, Named, produce, published, put, store
from tests.pipelines.test_engine_faults import Figures

NOW_MS: Final = time.time_ns() // 1_000_000
KINDS: Final = [operator.name for operator in OPERATORS]
BODIES: Final = {kind: entry_of(kind).body for kind in KINDS}
CHANGED: Final = {kind: entry_of(kind).changed for kind in KINDS}
UNREADABLE: Final = b'{"version": "of tomorrow"}'


class Project:
    """A definition of every operator, in a project of its own, and the engine that runs it."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self.name = name
        self.engine = Engine(settings).run()

    def of(self, id_: str = "one") -> list[Named]:
        return [Named(kind, id_, self.name) for kind in KINDS]

    def put(self, make: Callable[[Named], dict[str, Any] | bytes | None], id_: str = "one") -> None:
        put(self.settings, {of: make(of) for of in self.of(id_)})

    def instances(self, version: int = 1, id_: str = "one") -> dict[str, AnyInstance]:
        """The instances of a version, by operator."""
        return {
            key.operator: instance
            for key, instance in self.engine.partition.instances.items()
            if (key.project, key.id, key.version) == (self.name, id_, version)
        }

    def await_versions(self, *versions: int, id_: str = "one") -> None:
        """Commit until these versions of all operators are there, and no others."""

        def there(_: Engine) -> bool:
            found = {
                key
                for key in self.engine.partition.instances
                if (key.project, key.id) == (self.name, id_)
            }
            return {(key.operator, key.version) for key in found} == {
                (kind, version) for kind in KINDS for version in versions
            }

        self.engine.await_definitions(there)

    def await_that(self, holds: Callable[[AnyInstance], bool], version: int = 1) -> None:
        """Commit until something holds of a version, with every operator."""
        self.engine.await_definitions(lambda _: all(map(holds, self.instances(version).values())))

    def happen(self, person: str, *events: str, at_ms: int = NOW_MS) -> None:
        store(self.settings, events, at_ms, person, self.name)

    def figures(self) -> Figures:
        return Figures(published(self.settings))

    def assert_like_new(self, bodies: dict[str, dict[str, Any]], version: int = 1) -> None:
        """A version has the figures that definitions with these bodies have that are made now."""
        self.put(lambda of: of.record(bodies[of.kind]), "control")
        self.await_versions(1, id_="control")
        self.engine.run()
        figures = self.figures()
        for of, control in zip(self.of(), self.of("control"), strict=True):
            found = figures.counted(of, version)
            expected = {
                period: {**record, "version": version}
                for period, record in figures.counted(control).items()
            }
            assert found == expected
            assert figures.of[of][version, None]["failed"] is None
            assert figures.of[of][version, None]["backfilling_to"] is None
        self.put(lambda _: None, "control")
        self.await_versions(id_="control")


@pytest.fixture(scope="module")
def own_settings(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A deployment of this module's, in which the next commit logs what has changed."""
    with deployment(broker, tmp_path_factory.mktemp("versions")) as settings:
        yield replace(settings, checkpoint_interval_ms=0)


@pytest.fixture
def project(own_settings: Settings) -> Iterator[Project]:
    """Definitions of which `ann` did all that they look at."""
    project = Project(own_settings, f"p{uuid.uuid4().hex[:8]}")
    project.put(lambda of: of.record(BODIES[of.kind]))
    project.happen("ann", "home", "cart")
    project.await_versions(1)
    project.engine.run()
    yield project
    project.put(lambda _: None)
    project.engine.close()


def first(of: Named) -> dict[str, Any]:
    return of.record(BODIES[of.kind])


def second(of: Named) -> dict[str, Any]:
    return of.record(CHANGED[of.kind], version=2)


def second_beside_first(of: Named) -> dict[str, Any]:
    return {**second(of), "revision": 2, "previous": first(of)}


def test_a_change_of_what_is_displayed_changes_nothing(project: Project) -> None:
    before, records = project.instances(), records_of(project)
    project.put(lambda of: {**first(of), "revision": 2, "updated_at": 7})
    project.put(first, "other")
    project.await_versions(1, id_="other")  # which comes after it
    assert project.instances() == before
    assert records_of(project) == records
    project.put(lambda _: None, "other")


def records_of(project: Project) -> int:
    """How many aggregates of the definitions were ever published."""
    topics = [spec.aggregates.topic(project.settings.topics) for spec in SPECS]
    keys = [
        message.key() or b""
        for topic in topics
        for message in read_all(project.settings.bootstrap, topic.name)
    ]
    return sum(key.startswith(f"{project.name}/one/".encode()) for key in keys)


def test_a_previous_version_counts_until_the_new_one_is_alone(project: Project) -> None:
    previous = project.instances()
    project.put(second_beside_first)
    project.await_versions(1, 2)
    project.happen("ben", "home", at_ms=NOW_MS + 60_000)
    project.engine.run()
    assert project.instances() == previous
    assert all(instance.live for instance in (*previous.values(), *project.instances(2).values()))
    project.assert_like_new(BODIES)
    project.assert_like_new(CHANGED, version=2)

    project.put(second)
    project.await_versions(2)
    project.happen("cem", "cart", at_ms=NOW_MS + 120_000)
    project.engine.run()
    project.assert_like_new(CHANGED, version=2)
    figures = project.figures()
    assert {version for of in project.of() for version, _ in figures.of[of]} == {2}


def test_a_previous_version_stays_when_the_new_one_changes_again(project: Project) -> None:
    previous = project.instances()
    project.put(second_beside_first)
    project.await_versions(1, 2)
    third = {kind: CHANGED[kind] for kind in KINDS}
    project.put(
        lambda of: {
            **of.record(third[of.kind], version=3),
            "revision": 3,
            "previous": first(of),
        }
    )
    project.await_versions(1, 3)
    project.engine.run()
    assert project.instances() == previous
    project.assert_like_new(BODIES)
    project.assert_like_new(CHANGED, version=3)


@pytest.mark.parametrize("restart", ["never", "beside", "alone"])
def test_the_persons_of_a_segment_are_those_of_the_version_that_counts(
    project: Project, restart: str
) -> None:
    results = Results(project.settings)

    def members() -> set[str]:
        return segmented(results, "one", project.name).members

    assert members() == {"ann"}  # who did `home`
    project.happen("ben", "home")
    project.put(second_beside_first)
    project.await_versions(1, 2)
    project.engine.run()
    if restart == "beside":
        project.engine = project.engine.restarted()
    project.happen("cem", "cart")
    project.engine.run()
    assert members() == {"ann", "ben"}
    project.put(second)
    if restart == "alone":  # the change comes while no worker runs
        project.engine = project.engine.restarted()
    project.await_versions(2)
    project.await_that(lambda one: not one.has_previous, version=2)
    assert members() == {"ann", "cem"}  # who did `cart`
    project.happen("dan", "cart")
    project.engine.run()
    assert members() == {"ann", "cem", "dan"}
    project.put(lambda _: None)
    project.await_versions()
    assert members() == set()
    results.close()


@pytest.mark.parametrize("restart", [False, True])
def test_a_definition_that_cannot_be_read_is_suspended_until_it_can(
    project: Project, restart: bool
) -> None:
    before = project.figures()
    project.put(lambda _: UNREADABLE)
    project.await_that(lambda one: one.suspended)
    project.happen("ben", "home", "cart", at_ms=NOW_MS + 60_000)
    project.engine.run()
    during = project.figures()
    for of in project.of():
        assert (during.failed(of) or "").startswith("its definition cannot be read: ")
        assert during.counted(of) == before.counted(of)

    project.put(first)
    if restart:
        project.engine = project.engine.restarted()
    project.await_that(lambda one: not one.suspended)
    project.engine.run()
    project.assert_like_new(BODIES)


def test_a_definition_that_cannot_be_read_after_a_restart_keeps_its_figures(
    project: Project,
) -> None:
    before = project.figures()
    project.put(lambda _: UNREADABLE)
    for _ in range(2):
        project.engine = project.engine.restarted()
        project.happen("ben", "home", "cart", at_ms=NOW_MS + 60_000)
        project.engine.run()
        during = project.figures()
        for of in project.of():
            assert (during.failed(of) or "").startswith("its definition cannot be read: ")
            assert during.counted(of) == before.counted(of)

    project.put(second)
    project.await_versions(2)
    project.engine.run()
    project.assert_like_new(CHANGED, version=2)
    assert {version for of in project.of() for version, _ in project.figures().of[of]} == {2}


@pytest.mark.parametrize("restart", [False, True])
def test_a_definition_that_cannot_be_read_from_the_start_says_so_until_it_can(
    project: Project, restart: bool
) -> None:
    project.put(lambda _: None)
    project.await_versions()
    project.put(lambda of: {**first(of), of.kind: {"of": "tomorrow"}, "created_at": 9})
    project.await_versions(1)
    project.engine.run()
    figures = project.figures()
    for of in project.of():
        assert (figures.failed(of) or "").startswith("its definition cannot be read: ")
    if restart:
        project.engine = project.engine.restarted()
        project.await_versions(1)
        assert all(project.figures().failed(of) for of in project.of())

    project.put(lambda of: {**first(of), "created_at": 9})
    if restart:
        project.engine = project.engine.restarted()
    project.engine.await_definitions(
        lambda _: not any(instance.failed for instance in project.instances().values())
    )
    project.engine.run()
    project.assert_like_new(BODIES)


def test_a_previous_version_that_cannot_be_read_keeps_its_figures(project: Project) -> None:
    before = project.figures()
    project.put(lambda of: {**second(of), "revision": 2, "previous": {"version": 1}})
    project.await_versions(1, 2)
    project.engine.run()
    during = project.figures()
    assert all(of in during.of and during.failed(of) for of in project.of())
    assert [during.counted(of) for of in project.of()] == [
        before.counted(of) for of in project.of()
    ]
    project.assert_like_new(CHANGED, version=2)


def test_a_definition_that_is_deleted_and_created_again_begins_again(project: Project) -> None:
    project.put(lambda _: None)
    project.put(lambda of: {**of.record(CHANGED[of.kind]), "created_at": 5})
    before = project.instances()
    project.await_that(lambda one: one not in before.values())
    project.engine.run()
    project.assert_like_new(CHANGED)


def test_what_the_log_does_not_know_begins_again(project: Project) -> None:
    """Figures that were published are not counted a second time on top."""
    topic = project.settings.topics.person_state.name
    logged = read_all(project.settings.bootstrap, topic)
    tombstones = [Record(None, message.key(), PARTITION) for message in logged]
    produce(project.settings, topic, tombstones)
    project.engine = project.engine.restarted()
    project.engine.run()
    project.assert_like_new(BODIES)
