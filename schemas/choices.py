"""The values and fields that a type accepts at one place, for errors that name them."""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

_STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")


def accepted_at(of: Any, path: str) -> str:
    """Return the choices that the type `of` has at a path, such as `steps[0].where[1].op`.

    Empty if it has none there: if its value is not one of a few.
    """
    return ", ".join(dict.fromkeys(text for place in _at(of, path) for text in _choices(place)))


def fields_at(of: Any, path: str) -> str:
    """Return the names of the fields that the type `of` has at a path; empty if it has none."""
    return ", ".join(dict.fromkeys(text for place in _at(of, path) for text in _fields(place)))


def _at(of: Any, path: str) -> list[inspect.Type]:
    places = [inspect.type_info(of)]
    for name, _ in _STEP.findall(path):
        places = [inner for place in places for inner in _inside(place, name)]
    return places


def _fields(place: inspect.Type) -> Iterator[str]:
    match place:
        case inspect.Metadata(type=inner):
            yield from _fields(inner)
        case inspect.UnionType(types=types):
            for one in types:
                yield from _fields(one)
        case inspect.StructType(fields=fields):
            yield from (f"`{field.encode_name}`" for field in fields)


def _inside(place: inspect.Type, name: str) -> Iterator[inspect.Type]:
    """The types of a field of that name; of the items, if the name is empty."""
    match place:
        case inspect.Metadata(type=inner):
            yield from _inside(inner, name)
        case inspect.UnionType(types=types):
            for one in types:
                yield from _inside(one, name)
        case inspect.StructType(fields=fields) if name:
            yield from (field.type for field in fields if field.encode_name == name)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item) if not name:
            yield item
        case inspect.DictType(value_type=value) if not name:
            yield value


def _choices(place: inspect.Type) -> Iterator[str]:
    match place:
        case inspect.Metadata(type=inner):
            yield from _choices(inner)
        case inspect.UnionType(types=types):
            for one in types:
                yield from _choices(one)
        case inspect.LiteralType(values=values):
            yield from (f"`{value}`" for value in sorted(values, key=_in_order))
        case inspect.IntType(ge=int(least), le=int(most)):
            yield f"{least} to {most}"


def _in_order(value: object) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, str(value))
