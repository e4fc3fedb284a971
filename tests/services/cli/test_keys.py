"""`avila keys`, `avila tokens`, `avila projects` as a user runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.conftest import free_ports
from tests.sinks.processes import environment

ROOT = Path(__file__).parents[3]


class Shell:
    """Runs `avila` on a deployment."""

    def __init__(self, settings: Settings) -> None:
        self._environment = environment(settings)

    def __call__(self, line: str, code: int = 0, **more: str) -> tuple[str, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "services", *line.split()],
            env=self._environment | more,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == code, ended.stderr
        return ended.stdout.strip(), ended.stderr.strip()


@pytest.fixture
def avila(settings: Settings) -> Shell:
    return Shell(settings)


def test_keys_are_made_listed_and_revoked(avila: Shell) -> None:
    key, _ = avila(
        "keys create --project shop --name web --rate 50 --quota 1000 --origin https://a.b"
    )
    assert key.startswith("awk_")
    head, line = avila("keys list")[0].splitlines()
    assert head.split() == ["PROJECT", "KEY", "CREATED", "LIMITS", "ORIGINS", "NAME"]
    assert [*line.split()[:2], *line.split()[3:]] == [
        "shop",
        key,
        "50/s",
        "1,000/day",
        "https://a.b",
        "web",
    ]
    assert avila("projects limit shop --rate 7")[1] == "project shop: 7/s"
    assert avila("projects timezone shop Europe/Lisbon")[1] == "project shop: Europe/Lisbon"
    said = avila("projects week-start shop sunday")[1]
    assert said == "project shop: weeks begin on sunday"
    head, line = avila("projects list")[0].splitlines()
    assert head.split("  ")[-1] == "WEEK START"
    assert line.split() == ["shop", "1", "7/s", "Europe/Lisbon", "sunday"]

    assert avila(f"keys revoke {key}")[1] == f"write key {key} of project shop is revoked"
    assert len(avila("keys list")[0].splitlines()) == 1


def test_tokens_are_made_listed_and_revoked(avila: Shell) -> None:
    token, remark = avila("tokens create --project shop --scope read --scope write --days 7")
    assert token.startswith("aqt_")
    assert "not shown again" in remark
    listed, _ = avila("tokens list")
    name = listed.splitlines()[1].split()[1]
    assert token not in listed
    assert listed.splitlines()[1].split()[::2][:2] == ["shop", "read,write"]

    assert avila(f"tokens revoke {name}")[1] == f"query token {name} is revoked"


def test_what_is_wrong_is_said_in_one_line(avila: Shell) -> None:
    [port] = free_ports(1)
    for line, code, why, more in (
        ("keys revoke awk_none", 1, "avila: there is no write key awk_none", {}),
        ("keys create --project no/slash", 1, "avila: project: accepted are", {}),
        ("keys create --origin shop.example", 1, "avila: origins[0]", {}),
        ("keys create --rate 0", 2, "Error: Invalid value for '--rate'", {}),
        ("projects week-start shop friday", 2, "'friday' is not one of 'monday', 'sunday'", {}),
        ("keys list", 1, "Kafka at", {"AVILA_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}"}),
    ):
        said = avila(line, code, **more)[1]
        assert why in said
        assert len([text for text in said.splitlines() if "avila:" in text or "Error" in text]) == 1
        assert "Traceback" not in said
