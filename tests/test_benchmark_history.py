"""The page of benchmarks draws every figure of the runs that were recorded."""

from benchmarks.history import Run, page, read_runs


def run_of(at: str, commit: str, **figures: object) -> Run:
    return Run(
        benchmark="memory",
        at=at,
        commit=commit,
        processor="a processor",
        cores=2,
        load=0.1,
        arguments=["--events", "5"],
        figures=figures,
    )


def test_each_figure_has_a_line_with_its_runs_in_order_of_time() -> None:
    first = run_of("2026-01-01", "aaa", total=2_000, parts={"worker": 1_000}, rates=[1, 2])
    second = run_of("2026-01-02", "bbb+", total=1_000, parts={"worker": 1_000}, rates=[1, 2])
    drawn = page([second, first])
    assert "`python -m benchmarks.memory --events 5`, a processor, 2 cores." in drawn
    assert "Latest run: `bbb+`, 2026-01-02" in drawn
    assert "| total | 1,000 | 2,000 | █▅ |" in drawn
    assert "| parts worker | 1,000 | 1,000 | ██ |" in drawn
    assert "| rates 2 | 2 | 2 | ██ |" in drawn


def test_the_recorded_runs_can_be_drawn() -> None:
    runs = read_runs()
    assert all(f"## {run.benchmark}" in page(runs) for run in runs)
