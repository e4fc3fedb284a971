"""Deletes in two steps, as Confluent does: a soft deletion, then a permanent one. Pure decisions.

A soft-deleted version is no longer listed, but its id can still be looked up: values that were
written with it stay readable until it is deleted permanently.
"""

from schemas.registry.subjects import (
    Record,
    Subjects,
    schema_record,
)
from services.registry import errors
from services.registry.requests import find_version


def delete_subject(
    subjects: Subjects, subject: str, *, permanent: bool
) -> tuple[list[int], list[Record]]:
    """Return the numbers of the versions that a deletion removes, and the records to write.

    Raises:
        Refused: there is no such subject, or the other step comes next.
    """
    listed = subjects.versions(subject)
    all_versions = subjects.versions(subject, deleted=True)
    if not all_versions:
        raise errors.no_subject(subject)
    if permanent:
        if listed:
            raise errors.subject_not_deleted_first(subject)
        numbers = [version.version for version in all_versions]
        return numbers, subjects.erasure(subject, numbers)
    if not listed:
        raise errors.subject_deleted_already(subject)
    records = [*subjects.deletion(subject), *subjects.unset_level(subject)]
    return [version.version for version in listed], records


def delete_version(
    subjects: Subjects, subject: str, number: int | None, *, permanent: bool
) -> tuple[int, list[Record]]:
    """Return the number of the version that a deletion removes, and the records to write.

    A `number` of None means the latest version.

    Raises:
        Refused: there is no such version, or the other step comes next.
    """
    listed = subjects.versions(subject)
    latest_listed = number is None and bool(listed) and not permanent
    version = find_version(subjects, subject, number, deleted=not latest_listed)
    if permanent:
        if not version.deleted:
            raise errors.version_not_deleted_first(subject, version.version)
        return version.version, subjects.erasure(subject, [version.version])
    if version.deleted:
        raise errors.version_deleted_already(subject, version.version)
    records = [schema_record(version._replace(deleted=True))]
    if listed == [version]:
        records += subjects.unset_level(subject)
    return version.version, records
