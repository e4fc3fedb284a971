import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro.schema import Schema
from schemas.errors import AvilaError, Conflict, InvalidRequest
from schemas.registry.subjects import (
    Record,
    Subjects,
    Version,
    level_key,
    level_record,
    schema_key,
    schema_record,
    value_subject,
)
from services.registry.deletion import delete_subject, delete_version
from tests.schemas.examples import changed, patient, record

FIRST = record({"name": "a", "type": "string"})
SECOND = changed(FIRST, add=[{"name": "b", "type": "int", "default": 0}], drop=set())
BREAKING = changed(FIRST, add=[{"name": "c", "type": "int"}], drop=set())

# As a Confluent Schema Registry writes them (6.2 to 7.9; later ones add "schemaType":"AVRO").
VALUE = (
    b'{"subject":"orders-value","version":1,"id":1,"schema":"{\\"type\\":\\"record\\",'
    b'\\"name\\":\\"Sample\\",\\"fields\\":[{\\"name\\":\\"a\\",\\"type\\":\\"string\\"}]}",'
    b'"deleted":false}'
)
RECORDED: list[Record] = [
    (b'{"keytype":"SCHEMA","subject":"orders-value","version":1,"magic":1}', VALUE),
    (b'{"keytype":"CONFIG","magic":0}', b'{"compatibilityLevel":"FULL"}'),
    (b'{"keytype":"CONFIG","subject":"orders-value","magic":0}', b'{"compatibilityLevel":"NONE"}'),
    (
        b'{"keytype":"DELETE_SUBJECT","subject":"orders-value","magic":0}',
        b'{"subject":"orders-value","version":1}',
    ),
]


def fold(records: list[Record]) -> Subjects:
    subjects = Subjects()
    for key, value in records:
        subjects.apply(key, value)
    return subjects


def said(subjects: Subjects) -> object:
    """Everything that the view says."""
    names = subjects.subjects(deleted=True)
    return (
        {name: subjects.versions(name, deleted=True) for name in names},
        {number: subjects.lookup(number) for number in range(1, 8)},
        {name: subjects.compatibility(name) for name in ["x", "y", "other"]},
        subjects.next_id,
    )


def test_records_are_spelled_as_confluent_spells_them() -> None:
    version = Version("orders-value", 1, 1, FIRST.text)

    assert [
        schema_record(version),
        level_record(None, "FULL"),
        level_record("orders-value", "NONE"),
        *fold(RECORDED[:1]).deletion("orders-value"),
    ] == RECORDED


def test_a_topic_that_confluent_wrote_is_understood() -> None:
    subjects = fold(RECORDED[:3])

    assert subjects.subjects() == ["orders-value"]
    assert subjects.lookup(1) == FIRST
    assert subjects.compatibility("orders-value") == "NONE"
    assert subjects.compatibility("other") == "FULL"
    assert subjects.next_id == 2


def test_older_and_newer_spellings_of_confluent_are_understood() -> None:
    key = b'{"magic":0,"subject":"s","version":2,"keytype":"SCHEMA"}'
    body = {"subject": "s", "version": 2, "id": 5, "md5": "x", "schemaType": "AVRO"}
    value = json.dumps(body | {"references": [], "schema": '"string"', "ts": 1, "offset": 2})
    level = (b'{"keytype":"CONFIG","subject":null,"magic":0}', b'{"compatibilityLevel":"FULL"}')

    subjects = fold([(key, value.encode()), level])

    assert subjects.versions("s") == [Version("s", 2, 5, '"string"')]
    assert subjects.compatibility("s") == "FULL"


def test_what_is_deleted_is_no_longer_offered_but_still_read() -> None:
    subjects = fold(RECORDED)

    assert subjects.subjects() == []
    assert subjects.subjects(deleted=True) == ["orders-value"]
    assert subjects.lookup(1) == FIRST


def test_what_is_erased_is_gone_and_its_id_is_not_given_again() -> None:
    subjects = fold([*RECORDED, (schema_key("orders-value", 1), None)])

    assert subjects.subjects(deleted=True) == []
    assert subjects.lookup(1) is None
    assert subjects.next_id == 2


def test_clearing_a_subject_erases_what_is_deleted() -> None:
    cleared = (
        b'{"keytype":"CLEAR_SUBJECT","subject":"orders-value","magic":0}',
        b'{"subject":"orders-value"}',
    )

    assert fold([RECORDED[0], cleared]).lookup(1) == FIRST
    assert fold([*RECORDED, cleared]).lookup(1) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, None),
        (b"", b""),
        (b"\xff", b"{}"),
        (b"[]", b"{}"),
        (b"{}", b"{}"),
        (b'{"keytype":"NOOP","magic":0}', None),
        (b'{"keytype":"CONTEXT","magic":0}', b"{}"),
        (b'{"keytype":"FUTURE","magic":9}', b"{}"),
        (b'{"keytype":"SCHEMA","subject":"s","version":1,"magic":2}', b'{"id":1,"schema":"x"}'),
        (b'{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}', b"[1]"),
        (b'{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}', b'{"id":"x","schema":""}'),
        (b'{"keytype":"SCHEMA","subject":":.c:s","version":1,"magic":1}', b'{"id":1,"schema":""}'),
        (b'{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}', None),
        (b"[" * 100_000, b"{}"),
    ],
)
def test_records_of_no_concern_change_nothing(key: bytes | None, value: bytes | None) -> None:
    subjects = fold(RECORDED[:1])
    before = said(subjects)

    subjects.apply(key, value)

    assert said(subjects) == before


def test_an_id_stays_with_the_schema_that_had_it_first() -> None:
    subjects = fold([RECORDED[0], schema_record(Version("other", 1, 1, SECOND.text))])

    assert subjects.lookup(1) == FIRST
    assert subjects.subjects() == ["orders-value"]


def test_other_kinds_of_schema_keep_their_ids_and_are_not_read_as_avro() -> None:
    proto = Version("s", 1, 3, "message M {}", other=(("schemaType", "PROTOBUF"),))
    subjects = fold([schema_record(proto)])

    assert subjects.versions("s") == [proto]
    assert subjects.lookup(3) is None
    assert subjects.next_id == 4
    with pytest.raises(Conflict, match="not Avro"):
        subjects.registration("s", FIRST)


VERSIONS = st.builds(
    Version,
    subject=st.sampled_from(["x", "y"]),
    version=st.integers(1, 3),
    id=st.integers(1, 4),
    schema=st.sampled_from([FIRST.text, SECOND.text, BREAKING.text]),
    deleted=st.booleans(),
    other=st.just(()),
)
RECORDS = st.one_of(
    VERSIONS.map(schema_record),
    VERSIONS.map(lambda version: (schema_key(version.subject, version.version), None)),
    VERSIONS.map(lambda version: fold([schema_record(version)]).deletion(version.subject)).map(
        lambda records: records[0] if records else RECORDED[-1]
    ),
    st.sampled_from([None, "x"]).map(lambda subject: (level_key(subject), None)),
    st.builds(
        level_record,
        st.sampled_from([None, "x"]),
        st.sampled_from(["FULL", "NONE"]),
    ),
)


def consistent(records: list[Record]) -> list[Record]:
    """The records less those that a registry would not write: an id has one schema for good."""
    texts: dict[int, str] = {}
    kept = []
    for key, value in records:
        body = json.loads(value or b"null")
        if (
            body
            and "schema" in body
            and texts.setdefault(body["id"], body["schema"]) != body["schema"]
        ):
            continue
        kept.append((key, value))
    return kept


@patient
@given(st.lists(RECORDS, max_size=20).map(consistent))
def test_replayed_twice_says_the_same_as_once(records: list[Record]) -> None:
    assert said(fold(records + records)) == said(fold(records))


@patient
@given(st.lists(RECORDS, max_size=20).map(consistent))
def test_a_registration_makes_itself_true_and_is_idempotent(records: list[Record]) -> None:
    subjects = fold(records)
    try:
        schema_id, more = subjects.registration("x", FIRST)
    except Conflict:
        return
    for key, value in more:
        subjects.apply(key, value)

    assert subjects.lookup(schema_id) == FIRST
    assert subjects.registration("x", FIRST) == (schema_id, [])


def test_versions_count_up_and_ids_are_shared_by_equal_schemas() -> None:
    subjects = Subjects()
    ids = []
    for subject, schema in [("x", FIRST), ("x", SECOND), ("y", SECOND), ("y", FIRST), ("x", FIRST)]:
        schema_id, records = subjects.registration(subject, schema)
        ids.append(schema_id)
        for key, value in records:
            subjects.apply(key, value)

    assert ids == [1, 2, 2, 1, 1]
    assert [(v.version, v.id) for v in subjects.versions("x")] == [(1, 1), (2, 2)]
    assert [(v.subject, v.version) for v in subjects.with_id(1)] == [("x", 1), ("y", 2)]


def test_a_schema_registered_again_after_deletion_is_a_new_version_in_place_of_the_old() -> None:
    subjects = fold(RECORDED)

    schema_id, records = subjects.registration("orders-value", FIRST)

    assert schema_id == 1
    assert records == [
        (schema_key("orders-value", 1), None),
        schema_record(Version("orders-value", 2, 1, FIRST.text)),
    ]


def test_an_incompatible_schema_is_refused_with_the_reason() -> None:
    subjects = fold([RECORDED[0]])

    with pytest.raises(Conflict, match=r"not BACKWARD compatible with orders-value: .*c: not writ"):
        subjects.registration("orders-value", BREAKING)
    subjects.apply(*level_record("orders-value", "NONE"))
    assert subjects.registration("orders-value", BREAKING)[0] == 2


@pytest.mark.parametrize("subject", ["", ":.context:x", "a\nb"])
def test_a_name_that_confluent_would_not_take_is_refused(subject: str) -> None:
    with pytest.raises(InvalidRequest, match="subject"):
        Subjects().registration(subject, FIRST)


def test_a_schema_spelled_otherwise_is_the_same_schema() -> None:
    spaced = json.dumps(json.loads(FIRST.text), indent=1)
    subjects = fold([schema_record(Version("x", 1, 1, spaced))])

    assert subjects.registration("x", FIRST) == (1, [])
    assert subjects.registration("y", Schema(spaced))[0] == 1


def test_the_subject_of_a_topics_values_follows_the_topic() -> None:
    assert value_subject("avila.events") == "avila.events-value"


def respelled(key: bytes, spelling: int) -> bytes:
    """A key as another version of Confluent's registry would write it."""
    body = json.loads(key)
    if spelling == 1:
        return json.dumps(dict(reversed(body.items())), separators=(",", ":")).encode()
    return json.dumps(body | ({"subject": None} if "subject" not in body else {})).encode()


def compacted(records: list[Record]) -> list[Record]:
    """What is left after Kafka has compacted the topic and dropped its tombstones."""
    newest = dict(records)
    order = {key: place for place, (key, _) in enumerate(records)}
    kept = [(key, value) for key, value in newest.items() if value is not None]
    return sorted(kept, key=lambda record: order[record[0]])


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["register", "delete", "erase", "delete one", "erase one", "level", "unset", "clear"]
        ),
        st.sampled_from(["x", "y"]),
        st.integers(1, 3),
        # Which registry writes the record: ours, or one of Confluent's.
        st.integers(0, 2),
    ),
    max_size=25,
)
CLEAR = b'{"keytype":"CLEAR_SUBJECT","subject":"%s","magic":0}'
SCHEMAS = [FIRST, SECOND, BREAKING]


def decided(subjects: Subjects, step: str, subject: str, number: int) -> list[Record]:
    """The records that our registry writes for a request."""
    match step:
        case "register":
            return subjects.registration(subject, SCHEMAS[number - 1])[1]
        case "delete" | "erase":
            return delete_subject(subjects, subject, permanent=step == "erase")[1]
        case "delete one" | "erase one":
            return delete_version(subjects, subject, number, permanent=step == "erase one")[1]
        case "level":
            return [level_record(subject if number > 1 else None, "NONE")]
        case "unset":
            return subjects.unset_level(subject if number > 1 else None)
        case _:
            return [(CLEAR % subject.encode(), json.dumps({"subject": subject}).encode())]


@patient
@given(STEPS, st.data())
def test_a_compacted_topic_reads_the_same(
    steps: list[tuple[str, str, int, int]], data: st.DataObject
) -> None:
    """Whatever was written by us, set or registered by Confluent in its own spelling before."""
    records: list[Record] = []
    highest = 0
    for step, subject, number, registry in steps:
        subjects = fold(records)
        highest = max(highest, subjects.next_id - 1)
        try:
            more = decided(subjects, step, subject, number)
        except (Conflict, AvilaError):
            continue
        if step in {"register", "level"}:
            more = [
                (respelled(key, registry) if registry and value is not None else key, value)
                for key, value in more
            ]
        records += more
    whole = fold(records)
    cleaned = data.draw(st.integers(0, len(records)))
    begun = compacted(records[:cleaned])
    for left in (compacted(records), begun + records[cleaned:]):
        assert said(fold(left)) == said(whole)
    assert fold(compacted(records)).next_id > highest
