"""Deleting in two steps: first no longer offered, then erased. Pure decisions.

What is deleted can still be found by its id, so that what was written with it can be read, until
somebody erases it. Records and refusals are Confluent's.
"""

from schemas.registry.subjects import (
    Record,
    Subjects,
    delete_records,
    level_record,
    schema_key,
    schema_record,
)
from services.registry import errors
from services.registry.requests import pick


def delete_subject(
    subjects: Subjects, subject: str, *, permanent: bool
) -> tuple[list[int], list[Record]]:
    """The versions that go, and the records that make them.

    Raises:
        Refused: there is no such subject, or the other step is next.
    """
    offered = subjects.versions(subject)
    everything = subjects.versions(subject, deleted=True)
    if not everything:
        raise errors.no_subject(subject)
    if permanent:
        if offered:
            raise errors.subject_not_deleted_first(subject)
        numbers = [version.version for version in everything]
        return numbers, [(schema_key(subject, number), None) for number in numbers]
    if not offered:
        raise errors.subject_deleted_already(subject)
    records = [*delete_records(offered), *_without_level(subjects, subject)]
    return [version.version for version in offered], records


def delete_version(
    subjects: Subjects, subject: str, number: int | None, *, permanent: bool
) -> tuple[int, list[Record]]:
    """The version that goes (None: the latest), and the records that make it.

    Raises:
        Refused: there is no such version, or the other step is next.
    """
    offered = subjects.versions(subject)
    latest_offered = number is None and bool(offered) and not permanent
    version = pick(subjects, subject, number, deleted=not latest_offered)
    if permanent:
        if not version.deleted:
            raise errors.version_not_deleted_first(subject, version.version)
        return version.version, [(schema_key(subject, version.version), None)]
    if version.deleted:
        raise errors.version_deleted_already(subject, version.version)
    records = [schema_record(version._replace(deleted=True))]
    if offered == [version]:
        records += _without_level(subjects, subject)
    return version.version, records


def _without_level(subjects: Subjects, subject: str) -> list[Record]:
    return [level_record(subject, None)] if subjects.level(subject) else []
