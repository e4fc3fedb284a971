"""Every registered operator's ways of counting, as `subject`."""

from dataclasses import dataclass
from importlib.util import find_spec

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

from schemas.definitions import Definition
from schemas.operators import OPERATORS
from tests.laws.driver import PROJECT, Life, definition_of
from tests.laws.entry import Case, Entry, entry_of


@dataclass(frozen=True)
class Subject:
    """One way of counting of one operator."""

    kind: str
    variant: str
    entry: Entry

    @property
    def cases(self) -> st.SearchStrategy[Case]:
        """Definitions and events to try."""
        return self.entry.variants[self.variant]

    def life(self, case: Case, *, checkpoint_ms: int = 0, late: bool = False) -> Life:
        """A partition that has taken nothing in yet."""
        definition, lateness_ms = self.definition(case), case.lateness_ms
        return Life(definition, lateness_ms, checkpoint_ms=checkpoint_ms, late=late)

    def definition(self, case: Case, project: str = PROJECT) -> Definition:
        """The case's definition, in a project."""
        fields = {self.kind: case.body, **self.entry.more(case.body)}
        return definition_of(self.kind, fields, project)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask each law of every operator that has an entry; a test of its own says which has none."""
    if "subject" in metafunc.fixturenames:
        kinds = [spec.name for spec in OPERATORS if find_spec(f"tests.laws.{spec.name}")]
        names = [(kind, variant) for kind in kinds for variant in entry_of(kind).variants]
        metafunc.parametrize("subject", names, indirect=True, ids=map("-".join, names))


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    """The operator, and which of its ways of counting, a law is asked of."""
    kind, variant = request.param
    return Subject(kind, variant, entry_of(kind))


# No law is judged by the time that an example takes on a machine that others use too.
hypothesis.settings.register_profile(
    "laws",
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
