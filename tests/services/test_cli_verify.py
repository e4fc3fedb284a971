"""What `avila verify` prints."""

from services.cli_verify import _report

EQUAL = {"equal": True, "positions": {"0": 4, "1": 9}}


def test_equal_figures_are_reported_in_one_line() -> None:
    said = "equal: the stream and ClickHouse agree below the offsets 4 of 0, 9 of 1"
    assert _report(EQUAL) == said


def test_what_differs_is_named_line_by_line() -> None:
    found = {
        "equal": False,
        "positions": {"0": 4},
        "differing": 1,
        "figures": [{"figure": "totals.steps[1].reached", "stream": 3, "store": 2}],
        "persons": [{"person": "ann", "problem": "event_differs", "text": "lost"}],
        "events": [
            {"partition": 0, "offset": 2, "person": "ann", "event": "home", "text": "is missing"}
        ],
        "cause": "store",
    }
    assert _report(found).splitlines() == [
        "1 figures differ below the offsets 4 of 0",
        "  totals.steps[1].reached: 3 on the stream, 2 in ClickHouse",
        "  ann: lost",
        "  partition 0, offset 2, home of ann: is missing",
    ]
    last = _report({**found, "persons": [], "events": [], "cause": "stream"}).splitlines()[-1]
    assert "exactly the events of the log" in last
