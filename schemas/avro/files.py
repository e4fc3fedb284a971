"""The schemas of the system itself: `schemas/<name>.avsc`, and their earlier versions."""

from functools import cache
from pathlib import Path
from typing import Final

from schemas.avro.schema import Schema

_HERE: Final = Path(__file__).parents[1]


@cache
def load(name: str) -> Schema:
    """Return the current schema called `name`, such as `event`.

    Raises:
        FileNotFoundError: there is none.
    """
    return Schema((_HERE / f"{name}.avsc").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Return the names of all current schemas, sorted."""
    return sorted(path.stem for path in _HERE.glob("*.avsc"))


def history(name: str) -> list[Schema]:
    """Return all versions of the schema `name`, oldest first."""
    files = sorted((_HERE / "history" / name).glob("*.avsc"), key=lambda path: int(path.stem))
    return [Schema(path.read_text(encoding="utf-8")) for path in files]
