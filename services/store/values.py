"""Rows in the format Values: the engine evaluates expressions in them, which may call functions."""

import re
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from services.store.bodies import Spool
from services.store.errors import Code, StoreError
from services.store.jobs import Job
from services.store.reach import check_text
from services.store.statements import Insert

# What rows must have to reach out of the store: a function's name, an escape in it, or a subquery.
_SUSPICIOUS: Final = re.compile(rb"(?i)\b(?:file|catboostevaluate|select)\b|\\x[0-9a-f]{2}")
_PIECE_BYTES: Final = 8 << 20
_OVERLAP_BYTES: Final = 64
_WITHOUT_EXPRESSIONS: Final = {
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
}


def check_values(job: Job, spools: Iterable[Spool], refused: frozenset[bytes]) -> Job:
    """Return `job`, whose rows in the format Values are in `spools`, if they stay in the store.

    More than 8 MiB of rows that look as if they might not are read without expressions.

    Raises:
        StoreError: an expression calls what is refused.
    """
    for spool in spools:
        if not _is_suspicious(spool):
            continue
        if spool.size <= _PIECE_BYTES:
            check_text(spool.peek(0, spool.size), refused)
            continue
        clause = job.statement.settings if isinstance(job.statement, Insert) else b""
        if b"input_format_values" in clause.lower():
            raise StoreError(
                Code.SUPPORT_IS_DISABLED,
                f"More than {_PIECE_BYTES} bytes of Values cannot have expressions here, which "
                "may call functions: send another format, such as JSONEachRow",
            )
        job = replace(job, settings={**job.settings, **_WITHOUT_EXPRESSIONS})
    return job


def _is_suspicious(spool: Spool) -> bool:
    return any(
        _SUSPICIOUS.search(spool.peek(start, _PIECE_BYTES + _OVERLAP_BYTES))
        for start in range(0, spool.size, _PIECE_BYTES)
    )
