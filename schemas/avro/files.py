"""The schemas that the system itself writes and reads: `schemas/<name>.avsc` and their history."""

from functools import cache
from pathlib import Path
from typing import Final

from schemas.avro.schema import Schema

_HERE: Final = Path(__file__).parents[1]


@cache
def load(name: str) -> Schema:
    """The current schema called `name`, such as `event`.

    Raises:
        FileNotFoundError: there is none.
    """
    return Schema((_HERE / f"{name}.avsc").read_text(encoding="utf-8"))


def names() -> list[str]:
    """The names of all current schemas, sorted."""
    return sorted(path.stem for path in _HERE.glob("*.avsc"))


def history(name: str) -> list[Schema]:
    """Every schema that was ever called `name` in a release, oldest first."""
    files = sorted((_HERE / "history" / name).glob("*.avsc"), key=lambda path: int(path.stem))
    return [Schema(path.read_text(encoding="utf-8")) for path in files]
