"""The formats that users of projects may ask for: those that read no file and need no schema."""

from typing import Final

from services.store.errors import Code, StoreError

_FORMATS: Final = {
    name.lower(): name
    for name in (
        *("JSON", "JSONStrings", "JSONColumns", "JSONColumnsWithMetadata"),
        *("JSONCompact", "JSONCompactStrings", "JSONCompactColumns"),
        *("JSONEachRow", "JSONEachRowWithProgress", "JSONStringsEachRow", "JSONObjectEachRow"),
        *("JSONLines", "NDJSON", "PrettyJSONEachRow", "JSONCompactEachRow"),
        *("JSONCompactEachRowWithNames", "JSONCompactEachRowWithNamesAndTypes"),
        *("JSONCompactStringsEachRow", "JSONCompactStringsEachRowWithNames"),
        "JSONCompactStringsEachRowWithNamesAndTypes",
        *("CSV", "CSVWithNames", "CSVWithNamesAndTypes"),
        *("TSV", "TSVWithNames", "TSVWithNamesAndTypes"),
        *("TSVRaw", "TSVRawWithNames", "TSVRawWithNamesAndTypes"),
        *("TabSeparated", "TabSeparatedWithNames", "TabSeparatedWithNamesAndTypes"),
        *("TabSeparatedRaw", "TabSeparatedRawWithNames", "TabSeparatedRawWithNamesAndTypes"),
        *("Native", "RowBinary", "RowBinaryWithNames", "RowBinaryWithNamesAndTypes"),
        *("Arrow", "ArrowStream", "Parquet", "ORC", "Avro", "MsgPack"),
        *(
            "Pretty",
            "PrettyCompact",
            "PrettySpace",
            "Vertical",
            "Markdown",
            "Values",
            "XML",
            "Null",
        ),
    )
}


def find_format(name: str) -> str:
    """Return a format as ClickHouse spells it.

    Raises:
        StoreError: it is not among those that are accepted.
    """
    found = _FORMATS.get(name.lower())
    if found is None:
        raise StoreError(Code.UNKNOWN_FORMAT, f"The format {name[:100]} is not allowed here")
    return found
