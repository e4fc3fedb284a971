"""The chains that a trace follows give the figures that the funnel's definition says."""

import json
from collections import defaultdict
from collections.abc import Sequence

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from schemas.operators.funnel import Funnel, decode_funnel
from services.query.trace.chains import Chain, Happening, chains, value_of
from services.query.trace.words import duration, effect_text, end_text
from tests.laws import funnel as law
from tests.laws.entry import Case
from tests.oracles import funnel as plain_oracle
from tests.oracles import funnel_options as oracle
from tests.oracles.events import Event
from tests.oracles.values import rank

NOON = 1_790_000_000_000


def happenings(case_body: dict[str, object], events: Sequence[Event]) -> list[Happening]:
    """A person's events in order of time, as the definition sees them."""
    seen = [(event, oracle.happening(case_body, event)) for event in events]
    line = [
        Happening(of.at, one.event, of.steps, of.excluded, of.held, of.value, rank([of.value]))
        for one, of in seen
    ]
    # A strict funnel is about all events, any other about those that it names.
    return sorted(line, key=lambda one: one.at)


def traced(funnel: Funnel, line: Sequence[Happening]) -> list[Chain]:
    return list(chains(funnel, line, NOON * 2))


@hypothesis.settings(max_examples=300)
@given(case=st.one_of(law.plain(), law.with_options()))
def test_chains_give_the_figures_of_the_definition(case: Case) -> None:
    funnel = decode_funnel(json.dumps(case.body).encode())
    steps = len(funnel.steps)
    reached, entries = [0] * steps, [0] * steps
    values: defaultdict[str, list[int]] = defaultdict(lambda: [0] * steps)
    for person in {event.person for event in case.events}:
        line = happenings(case.body, [event for event in case.events if event.person == person])
        own = traced(funnel, line)
        for chain in own:
            for number in chain.reached:
                entries[number - 1] += 1
                values[value_of(funnel, line, chain)][number - 1] += 1
        for number in {number for chain in own for number in chain.reached}:
            reached[number - 1] += 1
        for chain in own:
            check_words(funnel, line, chain)
    found = plain_oracle.figures(case.body, case.events)
    assert reached == found.reached
    if case.body.get("entries"):
        assert entries == found.entries
        if funnel.breakdown:
            assert dict(values) == {name: of.entries for name, of in found.values.items()}


def check_words(funnel: Funnel, line: Sequence[Happening], chain: Chain) -> None:
    """Every effect has words, and lies within the chain."""
    assert end_text(funnel, chain.end, chain.taken[-1].number)
    for effect in chain.effects:
        assert effect_text(funnel, effect, line[effect.place].event)
        assert line[effect.place].at >= line[chain.begin].at
        late = line[effect.place].at > chain.closes_at
        assert late == (effect.code == "window_closed")
    ended = [one for one in chain.effects if one.code in {"excluded", "interrupted"}]
    assert bool(ended) == (chain.end in {"excluded", "interrupted"})


def test_lengths_of_time_are_said_as_people_say_them() -> None:
    said = {
        5: "5 ms",
        1_000: "1 s",
        240_000: "4 min",
        7_500_000: "2 h 5 min",
        86_400_000: "1 day",
        3 * 86_400_000 + 3_600_000: "3 days 1 h",
    }
    assert {ms: duration(ms) for ms in said} == said
