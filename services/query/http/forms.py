"""Schemas of types that are one of several forms, which their structs cannot express."""

from collections.abc import Mapping

from services.query.http.describe import Json


def one_of_forms(derived: Json, forms: Mapping[str, tuple[str, ...]]) -> Json:
    """Return a schema with one alternative for each form, from the schema with the fields of all.

    `forms` has the field that each form is named by, and the other fields that it may have.
    """
    fields = derived["properties"]

    def form(name: str, optional: tuple[str, ...]) -> Json:
        required = {key: value for key, value in fields[name].items() if key != "default"}
        if "anyOf" in required:
            (required,) = (one for one in required["anyOf"] if one != {"type": "null"})
        return {
            "title": name,
            "type": "object",
            "properties": {name: required} | {other: fields[other] for other in optional},
            "required": [name],
            "additionalProperties": False,
        }

    shapes = [form(*of) for of in forms.items()]
    return {"title": derived["title"], "description": derived["description"], "oneOf": shapes}
