"""Decides what a change makes of a definition: the same version or a new one. Pure."""

import msgspec
import structlog

from schemas.definitions import NO_PREVIOUS
from schemas.operators import OperatorSpec
from services.query.views.catalog import D
from services.query.views.changes import has_previous

log = structlog.get_logger(__name__)


def succeed(spec: OperatorSpec, before: D, after: D, *, was_live: bool) -> D:
    """Return `after` as what follows `before`.

    The revision rises. The version stays if both count the same, and otherwise rises: see
    `recount`.
    """
    if not spec.counts_alike(before, after):
        return recount(spec, before, after, was_live=was_live)
    return msgspec.structs.replace(
        after, version=before.version, revision=before.revision + 1, previous=before.previous
    )


def recount(spec: OperatorSpec, before: D, after: D, *, was_live: bool) -> D:
    """Return `after` as a new version, which is counted from the first event on.

    Its `previous`, which counts for it until it is live, is `before` if that `was_live` on all
    partitions, and otherwise what counted for `before`.
    """
    version, revision = before.version + 1, before.revision + 1
    new = msgspec.structs.replace(after, version=version, revision=revision)
    return spec.with_previous(new, before if was_live else previous_of(spec, before))


def previous_of(spec: OperatorSpec, definition: D) -> D | None:
    """Return the version that counts for `definition`; None if none does, or it is unreadable."""
    if not has_previous(definition):
        return None
    try:
        previous = spec.previous(definition)
    except msgspec.DecodeError as error:
        log.error("previous_version_unreadable", key=definition.key, reason=str(error))
        return None
    assert isinstance(previous, type(definition))
    return previous


def without_previous(definition: D) -> D:
    """Return a definition for which no earlier version counts."""
    return msgspec.structs.replace(definition, previous=NO_PREVIOUS)
