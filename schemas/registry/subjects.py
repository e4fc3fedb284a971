"""The state of the `_schemas` topic: a fold of its records, in Confluent Schema Registry's format.

A Confluent Schema Registry may write the topic before or after us. Compaction compares keys as
bytes, so our keys are exactly those that it writes. This module is pure: `schemas.registry.log`
reads and writes the topic.

Only the default context is supported: subjects of the form `:.context:name` are ignored.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from schemas.avro.resolution import COMPATIBILITIES, Compatibility, incompatible
from schemas.avro.schema import Schema
from schemas.errors import Conflict, InvalidRequest

Record: TypeAlias = tuple[bytes, bytes | None]

DEFAULT_COMPATIBILITY: Final[Compatibility] = "BACKWARD"
_MAGIC: Final = {"SCHEMA": 1}


class Version(NamedTuple):
    """One version of a subject. A schema has the same `id` under every subject.

    A version that is `deleted` is no longer listed, but values written with it can still be read.
    `other` holds the attributes of schemas that are not plain Avro: their type and references.
    """

    subject: str
    version: int
    id: int
    schema: str
    deleted: bool = False
    other: tuple[tuple[str, Any], ...] = ()

    @property
    def is_avro(self) -> bool:
        """Return whether `schema` alone is a complete Avro schema."""
        return not self.other


class Subjects:
    """The subjects, versions, ids and compatibility levels of a `_schemas` topic.

    Applying the same records again changes nothing.
    """

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, Version]] = {}
        self._by_id: dict[int, Version] = {}
        self._schemas: dict[int, Schema] = {}
        self._levels: dict[str | None, Compatibility] = {}
        self._highest_id = 0

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Apply one record. A record that cannot be read or is of another kind changes nothing."""
        try:
            name = json.loads(key or b"null")
            body = None if value is None else dict(json.loads(value))
            match name["keytype"]:
                case "SCHEMA" if name["magic"] in (0, 1):
                    self._apply_schema(str(name["subject"]), int(name["version"]), body)
                case "CONFIG":
                    self._apply_level(name.get("subject"), body)
                case "DELETE_SUBJECT" if body:
                    self._delete(str(body["subject"]), int(body["version"]))
                case "CLEAR_SUBJECT" if body:
                    self._clear(str(body["subject"]))
        except (LookupError, TypeError, ValueError, RecursionError):
            # As Confluent does: a bad record must not hide the records that follow.
            return

    def lookup(self, schema_id: int) -> Schema | None:
        """Return the Avro schema with this id, also if its versions are soft-deleted."""
        if schema_id not in self._schemas:
            version = self._by_id.get(schema_id)
            if version is None or not version.is_avro:
                return None
            try:
                self._schemas[schema_id] = Schema(version.schema)
            except InvalidRequest:
                return None
        return self._schemas[schema_id]

    def subjects(self, *, deleted: bool = False) -> list[str]:
        """Return the sorted subjects; with `deleted`, also those that are softly deleted."""
        return sorted(name for name in self._versions if self.versions(name, deleted=deleted))

    def versions(self, subject: str, *, deleted: bool = False) -> list[Version]:
        """Return a subject's versions, oldest first; with `deleted`, also soft-deleted ones."""
        kept = sorted(self._versions.get(subject, {}).items())
        return [version for _, version in kept if deleted or not version.deleted]

    def with_id(self, schema_id: int, *, deleted: bool = False) -> list[Version]:
        """Return every version whose schema has this id, by subject and version."""
        return [
            version
            for subject in self.subjects(deleted=deleted)
            for version in self.versions(subject, deleted=deleted)
            if version.id == schema_id
        ]

    def by_id(self, schema_id: int) -> Version | None:
        """Return a version whose schema has this id, of any type, also a soft-deleted one."""
        return self._by_id.get(schema_id)

    def find(
        self, subject: str, schema: Schema, *, deleted: bool = False, normalize: bool = False
    ) -> Version | None:
        """Return the newest version of `subject` that is `schema`.

        With `normalize`, the order of attributes that Avro does not define is ignored.
        """
        newest_first = self.versions(subject, deleted=deleted)[::-1]
        same = (each for each in newest_first if self._is(each.id, schema, normalize=normalize))
        return next(same, None)

    def level(self, subject: str | None) -> Compatibility | None:
        """Return the level set for a subject, or globally (`subject` None); None if none is set."""
        return self._levels.get(subject)

    def compatibility(self, subject: str) -> Compatibility:
        """Return the level that applies to a subject: its own, the global one, or BACKWARD."""
        return self._levels.get(subject) or self._levels.get(None) or DEFAULT_COMPATIBILITY

    @property
    def next_id(self) -> int:
        """Return the id for the next new schema."""
        return self._highest_id + 1

    def incompatibilities(
        self, subject: str, schema: Schema, earlier: Sequence[Version]
    ) -> list[str]:
        """Return why the subject's level forbids `schema` after `earlier` (oldest first), if so."""
        level = self.compatibility(subject)
        if level == "NONE":
            return []
        schemas = [self.lookup(version.id) for version in earlier]
        readable = [found for found in schemas if found is not None]
        if len(readable) < len(schemas):
            return ["an earlier version is not plain Avro, which cannot be compared"]
        return incompatible(level, schema, readable)

    def registration(
        self, subject: str, schema: Schema, *, normalize: bool = False
    ) -> tuple[int, list[Record]]:
        """Return the id of `schema` under `subject`, and the records that register it there.

        There are no records if it is registered already. The same schema has the same id under
        every subject. With `normalize`, schemas are compared as in `find` and written normalized.

        Raises:
            Conflict: the subject's compatibility level forbids it, for the given reason.
            InvalidRequest: the subject is not a valid name.
        """
        if not subject or subject.startswith(":.") or not subject.isprintable():
            raise InvalidRequest("accepted is a printable name without a context", "subject")
        registered = self.find(subject, schema, normalize=normalize)
        if registered is not None:
            return registered.id, []
        problems = self.incompatibilities(subject, schema, self.versions(subject))
        if problems:
            level = self.compatibility(subject)
            raise Conflict(f"not {level} compatible with {subject}: {'; '.join(problems)}")
        all_versions = self.versions(subject, deleted=True)
        same = (each for each in self._by_id if self._is(each, schema, normalize=normalize))
        schema_id = next(same, self.next_id)
        number = max((version.version for version in all_versions), default=0) + 1
        # An id has one text, even if the same schema is written differently under other subjects.
        known = self.by_id(schema_id)
        text = known.schema if known else (schema.normalized if normalize else schema).text
        records: list[Record] = [
            (schema_key(subject, version.version), None)
            for version in all_versions
            if version.deleted and version.id == schema_id
        ]
        records.append(schema_record(Version(subject, number, schema_id, text)))
        return schema_id, records

    def _is(self, schema_id: int, schema: Schema, *, normalize: bool) -> bool:
        """Return whether the schema with this id is `schema`."""
        found = self.lookup(schema_id)
        if found is None or found == schema:
            return found is not None
        return normalize and found.normalized == schema.normalized

    def _apply_schema(self, subject: str, number: int, body: Any) -> None:
        if subject.startswith(":."):
            return
        kept = self._versions.setdefault(subject, {})
        if body is None:
            kept.pop(number, None)
            self._drop_unused_ids()
            return
        version = _version(body, subject, number)
        namesake = self._by_id.get(version.id)
        if namesake is not None and namesake.schema != version.schema:
            return  # The first schema with an id keeps it.
        replaced = kept.get(number)
        kept[number] = version
        if replaced is not None and replaced.id != version.id:
            self._drop_unused_ids()
        self._by_id.setdefault(version.id, version)
        self._highest_id = max(self._highest_id, version.id)

    def _apply_level(self, subject: str | None, body: Any) -> None:
        level = None if body is None else body.get("compatibilityLevel")
        if level in COMPATIBILITIES:
            self._levels[subject] = level
        else:
            self._levels.pop(subject, None)

    def _delete(self, subject: str, newest: int) -> None:
        kept = self._versions.get(subject, {})
        for number, version in kept.items():
            if number <= newest:
                kept[number] = version._replace(deleted=True)

    def _clear(self, subject: str) -> None:
        self._versions[subject] = {
            number: version
            for number, version in self._versions.get(subject, {}).items()
            if not version.deleted
        }
        self._drop_unused_ids()

    def _drop_unused_ids(self) -> None:
        used = {version.id for kept in self._versions.values() for version in kept.values()}
        for schema_id in self._by_id.keys() - used:
            del self._by_id[schema_id]
            self._schemas.pop(schema_id, None)


def value_subject(topic: str) -> str:
    """Return the subject of a topic's values, by Confluent's TopicNameStrategy."""
    return f"{topic}-value"


def schema_key(subject: str, number: int) -> bytes:
    """Return the key of one version's record."""
    return _key("SCHEMA", subject=subject, version=number)


def schema_record(version: Version) -> Record:
    """Return the record that registers one version or, if it is `deleted`, deletes it softly."""
    body = {
        "subject": version.subject,
        "version": version.version,
        "id": version.id,
        **dict(version.other),
        "schema": version.schema,
        "deleted": version.deleted,
    }
    return schema_key(version.subject, version.version), _json(body)


def level_record(subject: str | None, level: Compatibility | None) -> Record:
    """Return the record that sets the level of a subject or, without one, the global level.

    A level of None removes it.
    """
    body = None if level is None else _json({"compatibilityLevel": level})
    return _key("CONFIG", subject=subject), body


def delete_records(versions: list[Version]) -> Iterator[Record]:
    """Yield the records that softly delete all `versions` of a subject."""
    if versions:
        subject, newest = versions[-1].subject, versions[-1].version
        body = _json({"subject": subject, "version": newest})
        yield _key("DELETE_SUBJECT", subject=subject), body


def _version(body: Any, subject: str, number: int) -> Version:
    kind = body.get("schemaType") or "AVRO"
    references = body.get("references") or []
    other: list[tuple[str, Any]] = []
    if kind != "AVRO":
        other.append(("schemaType", kind))
    if references:
        other.append(("references", references))
    return Version(
        subject,
        number,
        int(body["id"]),
        str(body["schema"]),
        deleted=bool(body.get("deleted", False)),
        other=tuple(other),
    )


def _key(keytype: str, **names: str | int | None) -> bytes:
    given = {name: value for name, value in names.items() if value is not None}
    return _json({"keytype": keytype, **given, "magic": _MAGIC.get(keytype, 0)})


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
