"""`compose.yaml` is a valid Compose file, and runs existing commands of `avila`."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.settings import PREFIX, Settings, read_settings
from services.cli.main import avila

FILE = Path(__file__).parents[1] / "compose.yaml"
# The keys of https://github.com/compose-spec/compose-spec/blob/main/spec.md that our file may use.
TOP_LEVEL = {"name", "services", "volumes", "networks", "configs", "secrets"}
SERVICE = {
    "build",
    "command",
    "depends_on",
    "environment",
    "healthcheck",
    "image",
    "ports",
    "restart",
    "volumes",
    "working_dir",
}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found = yaml.safe_load(FILE.read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def test_it_is_a_compose_file(compose: dict[str, Any]) -> None:
    docker = shutil.which("docker")
    if docker and _succeeds([docker, "compose", "version"]):
        assert _succeeds([docker, "compose", "-f", str(FILE), "config", "--quiet"])
    assert {key for key in compose if not key.startswith("x-")} <= TOP_LEVEL
    services = compose["services"]
    for name, service in services.items():
        assert set(service) <= SERVICE, name
        assert "image" in service or "build" in service, name
        needed = service.get("depends_on", {})
        assert set(needed) <= set(services), name
        if isinstance(needed, dict):
            assert {condition["condition"] for condition in needed.values()} <= CONDITIONS, name
        named = {volume.partition(":")[0] for volume in service.get("volumes", [])} - {"."}
        assert named <= set(compose["volumes"]), name


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_every_part_runs_with_settings_that_are_accepted(compose: dict[str, Any]) -> None:
    commands = {
        service["command"].split()[-1].strip('"'): service["environment"]
        for service in compose["services"].values()
        if "avila" in service.get("command", "")
    }
    assert (
        {"worker", "sink", "ingest", "query", "registry", "topics"}
        <= set(commands)
        <= set(avila.commands)
    )
    for environment in commands.values():
        settings = read_settings(environment)
        for name, value in environment.items():
            field = name.removeprefix(PREFIX).lower()
            assert field in Settings.__struct_fields__
            assert str(getattr(settings, field)) == str(value)
