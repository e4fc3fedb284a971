"""The state of the `_schemas` topic, whose records have Confluent Schema Registry's format.

A Confluent Schema Registry may use the topic before or after this one. Compaction compares keys as
bytes, and drops tombstones after a while. So keys are written exactly as Confluent's registry
writes them, what other versions of it have spelled otherwise is erased in their spelling too, and
the highest id of an erased schema is recorded where Confluent's registry does not look. This module
is pure: `schemas.registry.log` reads and writes the topic.

Only the default context is supported: subjects of the form `:.context:name` are ignored.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from schemas.avro.resolution import COMPATIBILITIES, Compatibility, incompatible
from schemas.avro.schema import Schema
from schemas.errors import Conflict, InvalidRequest

Record: TypeAlias = tuple[bytes, bytes | None]

DEFAULT_COMPATIBILITY: Final[Compatibility] = "BACKWARD"
_MAGIC: Final = {"SCHEMA": 1}
_LEVEL: Final = 0  # versions count from 1
# A subject or the whole registry, and a version or the level.
_Name: TypeAlias = tuple[str | None, int]


class Version(NamedTuple):
    """One version of a subject. A schema has the same `id` under all subjects.

    `deleted`: the version is no longer listed, but values written with it can still be read.
    `other` has attributes of schemas that are not plain Avro: the type and references.
    """

    subject: str
    version: int
    id: int
    schema: str
    deleted: bool = False
    other: tuple[tuple[str, Any], ...] = ()

    @property
    def is_avro(self) -> bool:
        """Whether `schema` alone is an Avro schema."""
        return not self.other


class Subjects:
    """The subjects, versions, ids and compatibility levels in a `_schemas` topic.

    Applying records twice has the same result as applying them once.
    """

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, Version]] = {}
        self._by_id: dict[int, Version] = {}
        self._schemas: dict[int, Schema] = {}
        self._levels: dict[str | None, Compatibility] = {}
        self._highest_id = 0
        # The keys of records that compaction keeps, by what they are about.
        self._keys: defaultdict[_Name, set[bytes]] = defaultdict(set)

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Apply one record; records that are invalid or of other kinds change nothing."""
        try:
            name = json.loads(key or b"null")
            body = None if value is None else dict(json.loads(value))
            match name["keytype"]:
                case "SCHEMA" if name["magic"] in (0, 1):
                    subject, number = str(name["subject"]), int(name["version"])
                    self._note((subject, number), key, body)
                    self._apply_schema(subject, number, body)
                case "CONFIG":
                    self._note((name.get("subject"), _LEVEL), key, body)
                    self._apply_level(name.get("subject"), body)
                case "NOOP" if body:
                    self._highest_id = max(self._highest_id, int(body["highestId"]))
                case "DELETE_SUBJECT" if body:
                    self._delete(str(body["subject"]), int(body["version"]))
                case "CLEAR_SUBJECT" if body:
                    self._clear(str(body["subject"]))
        except (LookupError, TypeError, ValueError, RecursionError):
            # As in Confluent's registry: an invalid record must not hide those after it.
            return

    def lookup(self, schema_id: int) -> Schema | None:
        """Return the Avro schema with this id, even if its versions are deleted (not erased)."""
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
        """Return the subjects, sorted; with `deleted`, also those with deleted versions only."""
        return sorted(name for name in self._versions if self.versions(name, deleted=deleted))

    def versions(self, subject: str, *, deleted: bool = False) -> list[Version]:
        """Return the versions of a subject, oldest first; with `deleted`, also deleted ones."""
        kept = sorted(self._versions.get(subject, {}).items())
        return [version for _, version in kept if deleted or not version.deleted]

    def with_id(self, schema_id: int, *, deleted: bool = False) -> list[Version]:
        """Return all versions with this id, by subject and version."""
        return [
            version
            for subject in self.subjects(deleted=deleted)
            for version in self.versions(subject, deleted=deleted)
            if version.id == schema_id
        ]

    def any_version(self, schema_id: int) -> Version | None:
        """Return a version with this id, of any kind, deleted (not erased) or not."""
        return self._by_id.get(schema_id)

    def find(
        self, subject: str, schema: Schema, *, deleted: bool = False, normalize: bool = False
    ) -> Version | None:
        """Return the latest version of `subject` whose schema is `schema`.

        With `normalize`, the order of attributes that are not part of Avro does not matter.
        """
        latest_first = self.versions(subject, deleted=deleted)[::-1]
        same = (each for each in latest_first if self._is(each.id, schema, normalize=normalize))
        return next(same, None)

    def level(self, subject: str | None) -> Compatibility | None:
        """Return the level that is set for a subject, or globally (None); None if none is set."""
        return self._levels.get(subject)

    def compatibility(self, subject: str) -> Compatibility:
        """Return the level that applies to a subject: its own, the global one, or BACKWARD."""
        return self._levels.get(subject) or self._levels.get(None) or DEFAULT_COMPATIBILITY

    @property
    def next_id(self) -> int:
        """The id of the next new schema."""
        return self._highest_id + 1

    def incompatibilities(
        self, subject: str, schema: Schema, earlier: Sequence[Version]
    ) -> list[str]:
        """Return why `schema` cannot follow `earlier` (oldest first) at the subject's level."""
        level = self.compatibility(subject)
        if level == "NONE":
            return []
        schemas = [self.lookup(version.id) for version in earlier]
        readable = [found for found in schemas if found is not None]
        if len(readable) < len(schemas):
            return ["earlier versions are not Avro, and cannot be compared"]
        return incompatible(level, schema, readable)

    def registration(
        self, subject: str, schema: Schema, *, normalize: bool = False
    ) -> tuple[int, list[Record]]:
        """Return the id of `schema` under `subject`, and the records that register it there.

        There are no records if it is registered already. A schema keeps its id under other
        subjects. With `normalize`, schemas are compared as in `find` and written normalized.

        Raises:
            Conflict: the subject's compatibility level forbids it; says why.
            InvalidRequest: the subject is not a valid name.
        """
        if not subject or subject.startswith(":.") or not subject.isprintable():
            raise InvalidRequest("must be a printable name without a context", "subject")
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
        # An id has one text, even if the same schema is written differently now.
        known = self.any_version(schema_id)
        text = known.schema if known else (schema.normalized if normalize else schema).text
        records: list[Record] = [
            record
            for version in all_versions
            if version.deleted and version.id == schema_id
            for record in self._tombstones(subject, version.version)
        ]
        records.append(schema_record(Version(subject, number, schema_id, text)))
        if schema_id < self._highest_id:
            # The record may replace that of the highest id, whose version Confluent has cleared.
            records.append(self._highest())
        return schema_id, records

    def erasure(self, subject: str, numbers: Iterable[int]) -> list[Record]:
        """Return the records that erase versions for good; their ids are not given again."""
        return [
            *(record for number in numbers for record in self._tombstones(subject, number)),
            self._highest(),
        ]

    def _highest(self) -> Record:
        """Return the record that keeps the highest id when all records with it are gone."""
        return _key("NOOP"), _json({"highestId": self._highest_id})

    def unset_level(self, subject: str | None) -> list[Record]:
        """Return the records that unset the level of a subject, or the global one, if it is set."""
        return self._tombstones(subject, _LEVEL) if self.level(subject) else []

    def deletion(self, subject: str) -> list[Record]:
        """Return the records that delete all versions of a subject, if it has any."""
        versions = self.versions(subject)
        if not versions:
            return []
        # The new record replaces an earlier one, after which Confluent may have cleared versions.
        cleared = sorted(
            number
            for name, number in self._keys
            if name == subject and number != _LEVEL and number not in self._versions[subject]
        )
        body = _json({"subject": subject, "version": versions[-1].version})
        return [
            *(record for number in cleared for record in self._tombstones(subject, number)),
            (_key("DELETE_SUBJECT", subject=subject), body),
        ]

    def _tombstones(self, subject: str | None, number: int) -> list[Record]:
        own = level_key(subject) if number == _LEVEL else schema_key(subject or "", number)
        return [(key, None) for key in sorted({own, *self._keys.get((subject, number), ())})]

    def _note(self, name: _Name, key: bytes | None, body: object) -> None:
        if key is not None and body is not None:
            self._keys[name].add(key)
        elif key is not None and name in self._keys:
            self._keys[name].discard(key)
            if not self._keys[name]:
                del self._keys[name]

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
            return  # An id is never reused: the first schema with it keeps it.
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

    def _delete(self, subject: str, latest: int) -> None:
        kept = self._versions.get(subject, {})
        for number, version in kept.items():
            if number <= latest:
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
    """Return the record key of a version."""
    return _key("SCHEMA", subject=subject, version=number)


def schema_record(version: Version) -> Record:
    """Return the record that registers a version or, with `deleted`, deletes it."""
    body = {
        "subject": version.subject,
        "version": version.version,
        "id": version.id,
        **dict(version.other),
        "schema": version.schema,
        "deleted": version.deleted,
    }
    return schema_key(version.subject, version.version), _json(body)


def level_record(subject: str | None, level: Compatibility) -> Record:
    """Return the record that sets the level of a subject, or the global one."""
    return level_key(subject), _json({"compatibilityLevel": level})


def level_key(subject: str | None) -> bytes:
    """Return the record key of the level of a subject, or of the global one."""
    return _key("CONFIG", subject=subject)


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
