"""Schema resolution of whole columns: a batch of a writer becomes one of the reader."""

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.avro.resolution import field_names, same_name
from schemas.avro.schema import Schema, Tree, branches, kind, resolved

# The types that can be cast to a reader's type, a whole column at once and without loss.
_CASTS: Final = {"long": {"int"}, "double": {"int", "float"}}
_PLAIN: Final = frozenset({"boolean", "int", "long", "float", "double", "string"})


class Default(NamedTuple):
    """The value of a column that the writer does not have."""

    value: Any


class Projection(NamedTuple):
    """A mapping from a writer's columns to the reader's, `arrow`.

    `sources` has for each column of the reader the index of the writer's column, or a default.
    """

    arrow: pa.Schema
    sources: list[int | Default]

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, NDArray[np.bool_] | None]:
        """Return the batch in the reader's columns, and a mask of the rows that are invalid in it.

        Such a row has a null that the reader does not allow; the mask is None if there is none.
        """
        columns = []
        refused: NDArray[np.bool_] | None = None
        for field, source in zip(self.arrow, self.sources, strict=True):
            if isinstance(source, Default):
                columns.append(pa.array([source.value] * batch.num_rows, field.type))
                continue
            column = batch.column(source)
            if column.null_count and not field.nullable:
                nulls = column.is_null().to_numpy(zero_copy_only=False)
                refused = nulls if refused is None else refused | nulls
            columns.append(column if column.type == field.type else column.cast(field.type))
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow), refused


def project(reader: Schema, writer: Schema) -> Projection | None:
    """Return the projection; None if rows have to be resolved one by one, or cannot be."""
    if not writer.bulk or not same_name(reader.plain, writer.plain):
        return None
    written = {field["name"]: index for index, field in enumerate(writer.plain["fields"])}
    sources: list[int | Default] = []
    for field in reader.plain["fields"]:
        index = next((written[name] for name in field_names(field) if name in written), None)
        if index is not None:
            if not _readable(field["type"], writer.plain["fields"][index]["type"], reader, writer):
                return None
            sources.append(index)
        elif "default" in field and _value_type(field["type"], reader) in _PLAIN:
            sources.append(Default(field["default"]))
        else:
            return None
    return Projection(reader.arrow, sources)


def _readable(read: Tree, written: Tree, reader: Schema, writer: Schema) -> bool:
    target, source = _value_type(read, reader), _value_type(written, writer)
    if target in _PLAIN:
        return source == target or source in _CASTS.get(target, ())
    # Nested types must be identical, so that Arrow's columns are, too.
    return reader.plain_named == writer.plain_named and read == written


def _value_type(tree: Tree, schema: Schema) -> str:
    """Return the type of a field's values other than null."""
    others = [branch for branch in branches(tree) if branch != "null"]
    return kind(resolved(others[0], schema.plain_named)) if len(others) == 1 else "union"
