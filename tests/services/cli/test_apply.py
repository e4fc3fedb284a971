"""`avila apply` as a user runs it, against a service on the real topic."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner

from schemas.errors import AvilaError, InvalidRequest
from schemas.operators import OPERATORS
from services.apply.documents import read_documents, read_standard_input
from services.apply.kinds import KINDS
from services.apply.run import PartlyApplied
from services.cli.main import avila
from tests.credentials import TOKEN, bearer
from tests.laws.entry import entry_of
from tests.services.query.conftest import SharedService
from tests.sinks.processes import environment

ROOT = Path(__file__).parents[3]
PLAN = {"event": "purchase", "schema": {"required": ["amount"]}}
BOARD = {"name": "The shop", "tiles": [{"kind": "funnel", "id": "a", "funnel": "one"}]}


class Applied:
    """Runs `avila apply` on a file of the test, and asks the service for what it has."""

    def __init__(self, service: SharedService, directory: Path, project: str) -> None:
        self.file = directory / "definitions.yaml"
        self.project = project
        self.url = f"http://127.0.0.1:{service.port}"
        self._there = ("--url", self.url, "--token", TOKEN, "--project", project)

    def __call__(self, text: str, *options: str, given: str | None = None) -> str:
        self.file.write_text(text, "utf-8")
        files = () if given is not None else ("-f", str(self.file))
        words = ["apply", *files, *self._there, *options]
        ended = CliRunner().invoke(avila, words, input=given, catch_exceptions=True)
        if ended.exception is not None:
            raise ended.exception
        # The service, in a thread of this process, writes its log to the same place.
        lines = ended.output.splitlines(keepends=True)
        return "".join(line for line in lines if "[info " not in line)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> httpx.Response:
        address = f"{self.url}/api/projects/{self.project}/{path}"
        return httpx.request(method, address, json=body, headers=bearer(TOKEN), timeout=60)


Place = Callable[[], Applied]


@pytest.fixture
def apply(shared_service: SharedService, tmp_path: Path, place: Any) -> Applied:
    """Apply definitions to a project of the test's own."""
    applied = Applied(shared_service, tmp_path, place.renamed("code"))
    for _ in range(600):
        if applied.ask("dashboards").is_success:
            return applied
    raise AssertionError("the service is not ready")


def documents(*bodies: dict[str, Any]) -> str:
    return yaml.safe_dump_all(bodies, sort_keys=False)


def everything() -> list[dict[str, Any]]:
    """One definition of each kind."""
    operators = [{"kind": one.name, "id": "one", **entry_of(one.name).body} for one in OPERATORS]
    return [
        {"kind": "dashboard", "id": "one", **BOARD},
        {"kind": "flag", "id": "one", "key": "new-checkout", "segment": "one"},
        *operators,
        {"kind": "plan", "id": "one", **PLAN},
    ]


def test_files_may_have_definitions_of_every_kind_and_applying_them_again_changes_nothing(
    apply: Applied,
) -> None:
    assert set(KINDS) >= {one.name for one in OPERATORS} | {"plan", "dashboard"}
    text = documents(*everything())
    first = apply(text)
    assert f"{len(KINDS)} to create, 0 to change, 0 unchanged" in first
    for kind in KINDS.values():
        assert f"applied: {kind.name} one of project {apply.project}" in first
        assert apply.ask(f"{kind.plural}/one").json()["revision"] == 1
    again = apply(text)
    assert again == f"0 to create, 0 to change, {len(KINDS)} unchanged\n"
    for kind in KINDS.values():
        assert apply.ask(f"{kind.plural}/one").json()["revision"] == 1


def test_what_differs_is_shown_before_it_is_applied_and_a_dry_run_applies_nothing(
    apply: Applied,
) -> None:
    funnel = {"kind": "funnel", "id": "buy", "steps": [{"event": "a"}, {"event": "b"}]}
    apply(documents({**funnel, "window_s": 60}))
    changed = documents({**funnel, "window_s": 120}, {"kind": "plan", "id": "new", **PLAN})
    dry = apply(changed, "--dry-run").splitlines()
    assert dry == [
        f"plan new of project {apply.project}: create",
        '  + event: "purchase"',
        '  + schema: {"required":["amount"]}',
        f"funnel buy of project {apply.project}: change, from revision 1",
        "  - window_s: 60",
        "  + window_s: 120",
        "1 to create, 1 to change, 0 unchanged",
        "dry run: nothing was applied",
    ]
    assert apply.ask("funnels/buy").json()["window_s"] == 60
    assert apply.ask("plans/new").status_code == 404
    apply(changed)
    shown = apply.ask("funnels/buy").json()
    assert (shown["window_s"], shown["revision"]) == (120, 2)


def test_the_projects_own_time_zone_is_no_difference(apply: Applied) -> None:
    settings = {"timezone": "Europe/Lisbon", "week_start": "sunday"}
    apply.ask("settings", "PUT", settings)
    text = documents({"kind": "cohort", "id": "back", "start": {"event": "a"}, "period": "week"})
    apply(text)
    assert apply.ask("cohorts/back").json() | settings == apply.ask("cohorts/back").json()
    assert "0 to create, 0 to change, 1 unchanged" in apply(text)


def test_what_is_shown_can_be_applied_as_it_is(apply: Applied) -> None:
    apply(documents(*everything()))
    shown = [
        {"kind": kind.name, **apply.ask(f"{kind.plural}/one").json()} for kind in KINDS.values()
    ]
    text = "\n---\n".join(json.dumps(one) for one in shown if one["kind"] != "prediction")
    assert f"{len(shown) - 1} unchanged" in apply(text)


def test_all_faults_are_named_with_file_document_and_field_and_nothing_is_applied(
    apply: Applied,
) -> None:
    text = documents(
        {"kind": "plan", "id": "good", **PLAN},
        {"kind": "funnel", "id": "bad", "steps": [{"event": "a"}, {"evnt": "b"}]},
        {"kind": "pie", "id": "x"},
        {"kind": "segment", "id": "no/id", "rule": {}},
        {"kind": "plan", "id": "good", **PLAN},
        {"kind": "dashboard", "id": "b", "tiles": [{"kind": "funnel", "id": "a"}]},
    )
    with pytest.raises(InvalidRequest) as caught:
        apply(text)
    lines = str(caught.value).splitlines()
    assert lines[0] == "nothing was applied:"
    places = [f"{apply.file}, document {number} " for number in (2, 3, 4, 5, 6)]
    assert all(line.startswith(place) for line, place in zip(lines[1:], places, strict=True))
    assert "steps[1]: " in lines[1]
    assert "kind: accepted are `plan`" in lines[2]
    assert "id: accepted are 1 to 64" in lines[3]
    assert "is in " in lines[4]
    assert "tiles[0]: " in lines[5]
    assert apply.ask("plans/good").status_code == 404


def test_what_was_applied_is_said_where_the_service_refuses_the_rest(apply: Applied) -> None:
    text = documents(
        {"kind": "plan", "id": "one", **PLAN},
        {"kind": "plan", "id": "two", **PLAN},
        {"kind": "segment", "id": "s", "rule": {"performed": {"event": "a"}}},
    )
    with pytest.raises(PartlyApplied) as caught:
        apply(text)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"applied: plan one of project {apply.project}, segment s of project {apply.project}"
    )
    assert lines[1].startswith(f"not applied: {apply.file}, document 2 ")
    assert "the plan of the event 'purchase' is one" in lines[1]
    assert apply.ask("segments/s").is_success
    # Once the file is mended, only what was left is applied.
    mended = text.replace("id: two\nevent: purchase", "id: two\nevent: refund")
    assert "1 to create, 0 to change, 2 unchanged" in apply(mended)


def test_a_definition_may_refer_to_one_that_comes_later(apply: Applied) -> None:
    text = documents(
        {"kind": "segment", "id": "both", "rule": {"and": [{"segment": "a"}, {"segment": "b"}]}},
        {"kind": "segment", "id": "a", "rule": {"performed": {"event": "a"}}},
        {"kind": "segment", "id": "b", "rule": {"performed": {"event": "b"}}},
    )
    applied = [line for line in apply(text).splitlines() if line.startswith("applied")]
    names = [line.split()[2] for line in applied]
    assert names == ["a", "b", "both"]


def aliases(depth: int) -> str:
    """A short text that is ten times as long with each of its aliases expanded."""
    lines = (f"a{one}: &a{one} [{', '.join([f'*a{one - 1}'] * 10)}]" for one in range(1, depth))
    return "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *lines])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: [", "line 1: expected the node content"),
        ("kind: plan\nid: a\nid: b\n", "line 3: the field id is given twice"),
        ("- kind: plan", "document 1 (line 1): must be a mapping"),
        ("", "there is no definition"),
        ("a: !!python/object/apply:os.system [x]", "document 1 (line 1): kind: accepted are"),
        ("a: &a\n  b: *a\n", "must not contain itself"),
        ("? [a]\n: 1\n", "line 1: the name of a field must be text"),
        ('a: "\\ud800"', "line 1: \\ud800 to \\udfff are half a character"),
        ('"\\udfff": 1', "line 1: \\ud800 to \\udfff are half a character"),
        ("a: " + "9" * 5_000, "line 1: the number is too large"),
        ("a: 1e999", "line 1: the number is too large"),
        ("a: !!int x", "line 1: accepted are text, numbers as in JSON"),
        ("a: !!bool yes", "line 1: accepted are text, numbers as in JSON"),
        ("a: !!timestamp 2020-13-45", "line 1: accepted are text, numbers as in JSON"),
        ("a: !!binary AAA=", "line 1: accepted are text, numbers as in JSON"),
        ("a: " + "[" * 2_000, "is nested too deeply"),
        (aliases(9), "too large with its aliases expanded"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(
    apply: Applied, text: str, message: str
) -> None:
    with pytest.raises(AvilaError) as caught:
        apply(text)
    assert str(apply.file) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["-", "/dev/zero"])
def test_a_file_without_end_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with Path("/dev/zero").open(encoding="utf-8") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        with pytest.raises(InvalidRequest, match="accepted are at most 10000000 bytes"):
            read_documents([name], read_standard_input() if name == "-" else "")


def test_what_looks_like_a_number_of_yaml_alone_is_text() -> None:
    text = "[0123, 1:30, 1_000, 0x1F, 0o17, +1, .5, .inf, !!str 12, 12, -1.5e3, 12e-1]"
    [document] = read_documents(["-"], f"of: {text}")
    texts = ["0123", "1:30", "1_000", "0x1F", "0o17", "+1", ".5", ".inf", "12"]
    assert document.fields == {"of": [*texts, 12, -1_500, 1.2]}


def test_scalars_are_those_of_json() -> None:
    text = "since: 2026-01-01\non: yes\nflag: true\nnone: null\nnumber: 1.5\nquoted: 'true'\n"
    [document] = read_documents(["-"], text)
    assert document.fields == {
        "since": "2026-01-01",
        "on": "yes",
        "flag": True,
        "none": None,
        "number": 1.5,
        "quoted": "true",
    }


def test_the_command_ends_with_1_and_one_message_and_reads_standard_input(
    shared_service: SharedService, apply: Applied
) -> None:
    def run(given: str) -> "subprocess.CompletedProcess[str]":
        there = ("--url", apply.url, "--token", TOKEN, "--project", apply.project)
        return subprocess.run(
            [sys.executable, "-m", "services", "apply", "-f", "-", *there],
            env=environment(shared_service.settings),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            input=given,
            timeout=300,
        )

    refused = run("kind: plan\nid: a\n")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("avila: nothing was applied:\nstandard input, document 1")
    done = run(documents({"kind": "plan", "id": "a", **PLAN}))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"applied: plan a of project {apply.project}\n")
