"""What the `_schemas` topic says: a fold of its records, in Confluent Schema Registry's format.

A Confluent Schema Registry may write the topic before or after us, and must find nothing amiss:
keys are compared as bytes when the topic is compacted, so they are spelled exactly as it spells
them. Pure: reading and writing the topic is `schemas.registry.log`'s.

Only the default context is kept: subjects of the form `:.context:name` have ids of their own.
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
    """One version of a subject. `id` names the schema, whatever subjects it stands under.

    `deleted`: no longer offered, but still there for the values that were written with it.
    `other` has the attributes that only other kinds of schema carry: their type and references.
    """

    subject: str
    version: int
    id: int
    schema: str
    deleted: bool = False
    other: tuple[tuple[str, Any], ...] = ()

    @property
    def is_avro(self) -> bool:
        """Whether the text alone is an Avro schema."""
        return not self.other


class Subjects:
    """The subjects, versions, ids and compatibility levels that a `_schemas` topic holds.

    Applying the same records again changes nothing.
    """

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, Version]] = {}
        self._by_id: dict[int, Version] = {}
        self._schemas: dict[int, Schema] = {}
        self._levels: dict[str | None, Compatibility] = {}
        self._highest_id = 0

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take in one record. What cannot be read, or is of no concern here, changes nothing."""
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
            # As Confluent does: one bad record must not hide all that follow it.
            return

    def lookup(self, schema_id: int) -> Schema | None:
        """The Avro schema with this id, even if its versions are deleted (not erased)."""
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
        """The subjects, sorted; with `deleted`, also those of which only deleted versions stand."""
        return sorted(name for name in self._versions if self.versions(name, deleted=deleted))

    def versions(self, subject: str, *, deleted: bool = False) -> list[Version]:
        """The versions of a subject, oldest first; with `deleted`, also the deleted ones."""
        kept = sorted(self._versions.get(subject, {}).items())
        return [version for _, version in kept if deleted or not version.deleted]

    def with_id(self, schema_id: int, *, deleted: bool = False) -> list[Version]:
        """Where the schema with this id stands, by subject and version."""
        return [
            version
            for subject in self.subjects(deleted=deleted)
            for version in self.versions(subject, deleted=deleted)
            if version.id == schema_id
        ]

    def standing(self, schema_id: int) -> Version | None:
        """A version whose schema has this id, whatever its kind, deleted (not erased) or not."""
        return self._by_id.get(schema_id)

    def find(
        self, subject: str, schema: Schema, *, deleted: bool = False, normalize: bool = False
    ) -> Version | None:
        """The newest version of `subject` that is `schema`.

        With `normalize`, that is `schema` but for the order of attributes that Avro does not know.
        """
        newest_first = self.versions(subject, deleted=deleted)[::-1]
        same = (each for each in newest_first if self._is(each.id, schema, normalize=normalize))
        return next(same, None)

    def level(self, subject: str | None) -> Compatibility | None:
        """The level set for a subject, or for all (None); None if none is set."""
        return self._levels.get(subject)

    def compatibility(self, subject: str) -> Compatibility:
        """The level that counts for a subject: its own, the one for all, or BACKWARD."""
        return self._levels.get(subject) or self._levels.get(None) or DEFAULT_COMPATIBILITY

    @property
    def next_id(self) -> int:
        """The id of the next schema that is new."""
        return self._highest_id + 1

    def incompatibilities(
        self, subject: str, schema: Schema, earlier: Sequence[Version]
    ) -> list[str]:
        """Why `schema` may not follow `earlier` (oldest first) at the subject's level, if so."""
        level = self.compatibility(subject)
        if level == "NONE":
            return []
        schemas = [self.lookup(version.id) for version in earlier]
        readable = [found for found in schemas if found is not None]
        if len(readable) < len(schemas):
            return ["versions that are not Avro cannot be compared with"]
        return incompatible(level, schema, readable)

    def registration(
        self, subject: str, schema: Schema, *, normalize: bool = False
    ) -> tuple[int, list[Record]]:
        """The id that `schema` has under `subject`, and the records that make it so.

        No records if it stands there already. The same schema under another subject keeps its id.
        With `normalize`, two are the same as in `find`, and what is written is normalized.

        Raises:
            Conflict: the subject's compatibility level forbids it; says why.
            InvalidRequest: the subject cannot be a name.
        """
        if not subject or subject.startswith(":.") or not subject.isprintable():
            raise InvalidRequest("a printable name is accepted, without a context", "subject")
        standing = self.find(subject, schema, normalize=normalize)
        if standing is not None:
            return standing.id, []
        problems = self.incompatibilities(subject, schema, self.versions(subject))
        if problems:
            level = self.compatibility(subject)
            raise Conflict(f"not {level} compatible with {subject}: {'; '.join(problems)}")
        everything = self.versions(subject, deleted=True)
        same = (each for each in self._by_id if self._is(each, schema, normalize=normalize))
        schema_id = next(same, self.next_id)
        number = max((version.version for version in everything), default=0) + 1
        # Of one id there is one text, however the same schema is spelled elsewhere.
        known = self.standing(schema_id)
        text = known.schema if known else (schema.normalized if normalize else schema).text
        records: list[Record] = [
            (schema_key(subject, version.version), None)
            for version in everything
            if version.deleted and version.id == schema_id
        ]
        records.append(schema_record(Version(subject, number, schema_id, text)))
        return schema_id, records

    def _is(self, schema_id: int, schema: Schema, *, normalize: bool) -> bool:
        """Whether the schema with this id is `schema`."""
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
            self._forget_unused()
            return
        version = _version(body, subject, number)
        namesake = self._by_id.get(version.id)
        if namesake is not None and namesake.schema != version.schema:
            return  # An id is never given away: the first schema that had it keeps it.
        replaced = kept.get(number)
        kept[number] = version
        if replaced is not None and replaced.id != version.id:
            self._forget_unused()
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
        self._forget_unused()

    def _forget_unused(self) -> None:
        used = {version.id for kept in self._versions.values() for version in kept.values()}
        for schema_id in self._by_id.keys() - used:
            del self._by_id[schema_id]
            self._schemas.pop(schema_id, None)


def value_subject(topic: str) -> str:
    """The subject of a topic's values, by Confluent's TopicNameStrategy."""
    return f"{topic}-value"


def schema_key(subject: str, number: int) -> bytes:
    """The key of one version."""
    return _key("SCHEMA", subject=subject, version=number)


def schema_record(version: Version) -> Record:
    """The record that puts down one version (or, with `deleted`, takes it out of use)."""
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
    """The record that sets the compatibility level of a subject, or of all; None takes it back."""
    body = None if level is None else _json({"compatibilityLevel": level})
    return _key("CONFIG", subject=subject), body


def delete_records(versions: list[Version]) -> Iterator[Record]:
    """The records that take all of a subject's versions out of use."""
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
