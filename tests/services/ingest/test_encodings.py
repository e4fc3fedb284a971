"""Encodings: each at every format, found by their first bytes, several in a row, and bounded."""

import base64
import gzip
import json
import uuid
import zlib
from collections.abc import Callable
from typing import Any, Final

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from services.ingest.encodings import UnsupportedMedia, decode, read_encodings
from services.ingest.limits import Limits, TooLarge
from tests.credentials import KEY
from tests.services.ingest.conftest import UNHURRIED, Ingest

Encode = Callable[[bytes], bytes]

BOM: Final = b"\xef\xbb\xbf"


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def halves(encode: Encode) -> Encode:
    """Return an encoding of a body in two compressed parts."""
    return lambda body: encode(body[: len(body) // 2]) + encode(body[len(body) // 2 :])


def unsized_zstd(body: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(body) + stream.flush()


ENCODINGS: dict[str, tuple[str, Encode]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip, old name": ("x-gzip", gzip.compress),
    "gzip in two members": ("gzip", halves(gzip.compress)),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd of unknown size": ("zstd", unsized_zstd),
    "zstd in two frames": ("zstd", halves(zstandard.compress)),
    "brotli": ("br", brotli.compress),
    "capitals": ("GZip", gzip.compress),
    "with identity": ("gzip, identity", gzip.compress),
    "identity first": ("identity,gzip", gzip.compress),
    "two": ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    "the same twice": ("gzip,gzip", lambda body: gzip.compress(gzip.compress(body))),
    "gzip without its header": ("", gzip.compress),
    "zstd without its header": ("", zstandard.compress),
    "gzip under a proxy's": ("br", lambda body: brotli.compress(gzip.compress(body))),
    "identity, though it is gzip": ("identity", gzip.compress),
    "a byte order mark": ("", lambda body: BOM + body),
    "a compressed byte order mark": ("gzip", lambda body: gzip.compress(BOM + body)),
}

NATIVE = {"event": "seen", "distinct_id": "u1"}
SEGMENT = {"type": "track", "event": "seen", "userId": "u1"}
POSTHOG = {"event": "seen", "distinct_id": "u1", "uuid": str(uuid.uuid4())}
BODIES: dict[str, tuple[str, Any]] = {
    "native": ("/v1/events", {"events": [NATIVE]}),
    "one event": ("/v1/events", NATIVE),
    "segment": ("/v1/batch", {"batch": [SEGMENT]}),
    "segment, alone": ("/v1/track", SEGMENT),
    "posthog": ("/batch/", {"api_key": KEY, "batch": [POSTHOG]}),
    "posthog, alone": ("/e/", POSTHOG | {"token": KEY}),
    "posthog v1": ("/i/v1/analytics/events", {"batch": [POSTHOG]}),
    "amplitude": (
        "/2/httpapi",
        {"api_key": KEY, "events": [{"event_type": "seen", "user_id": "u1"}]},
    ),
    "snowplow": (
        "/com.snowplowanalytics.snowplow/tp2",
        {"data": [{"e": "se", "se_ac": "seen", "uid": "u1", "aid": KEY}]},
    ),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_format_takes_every_encoding(module_ingest: Ingest, encoding: str) -> None:
    header, encode = ENCODINGS[encoding]
    headers = {"Content-Type": "application/json"} | (
        {"Content-Encoding": header} if header else {}
    )
    name = uuid.uuid4().hex
    for path, body in BODIES.values():
        named = json.dumps(body).replace('"seen"', f'"{name}"').encode()
        answer = module_ingest.http.post(path, content=encode(named), headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        assert "drop" not in answer.text

    stored = [event["event"] for event in module_ingest.inbox()]
    assert stored.count(name) == len(BODIES)


def test_encodings_in_several_headers_are_undone_in_their_order(shared: Ingest) -> None:
    body = brotli.compress(gzip.compress(json.dumps(NATIVE).encode()))
    request = shared.http.build_request(
        "POST",
        "/v1/events",
        content=body,
        headers=[("Content-Encoding", "gzip"), ("Content-Encoding", "br")],
    )

    assert shared.http.send(request).status_code == 200


def test_lines_of_json_may_be_compressed_and_begin_with_a_byte_order_mark(shared: Ingest) -> None:
    lines = BOM + b"\n".join(json.dumps(NATIVE).encode() for _ in range(3))

    answer = shared.http.post(
        "/v1/events",
        content=brotli.compress(lines),
        headers={"Content-Encoding": "br", "Content-Type": "application/x-ndjson"},
    )

    assert [result["result"] for result in answer.json()["results"]] == ["ok"] * 3


@pytest.mark.parametrize(
    ("compression", "encode"),
    [
        ("gzip", gzip.compress),
        ("gzip-js", gzip.compress),
        ("zstd", zstandard.compress),
        ("br", brotli.compress),
        ("deflate", zlib.compress),
        ("br", lambda body: body),
        ("deflate", base64.b64encode),
        ("base64", base64.b64encode),
        ("base64", lambda body: base64.b64encode(zstandard.compress(BOM + body))),
        ("gzip", lambda body: b"data=" + base64.b64encode(body).replace(b"+", b"%2B")),
    ],
)
def test_posthogs_sdks_name_the_encoding_in_the_address_and_not_always_the_right_one(
    module_ingest: Ingest, compression: str, encode: Encode
) -> None:
    name = uuid.uuid4().hex
    body = encode(json.dumps(POSTHOG | {"token": KEY, "event": name}).encode())

    answer = module_ingest.http.post("/e/", params={"compression": compression}, content=body)

    assert answer.status_code == 200, answer.text
    assert name in {event["event"] for event in module_ingest.inbox()}


@pytest.mark.parametrize("header", ["lzma", "gzip, lzma", "gzip-js", ", ".join(["gzip"] * 5)])
def test_encodings_that_are_not_supported_are_refused_with_those_that_are(
    shared: Ingest, header: str
) -> None:
    answer = shared.http.post("/v1/events", content=b"{}", headers={"Content-Encoding": header})

    assert (answer.status_code, answer.json()["error"]["field"]) == (415, "Content-Encoding")
    assert "accepted are" in answer.json()["error"]["message"]


@UNHURRIED
@given(
    body=st.binary(max_size=3_000).map(lambda body: b"{" + body),
    names=st.lists(st.sampled_from(["gzip", "deflate", "zstd", "br"]), max_size=4),
)
def test_what_was_encoded_is_decoded(body: bytes, names: list[str]) -> None:
    encode: dict[str, Encode] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": zstandard.compress,
        "br": brotli.compress,
    }
    encoded = body
    for name in names:
        encoded = encode[name](encoded)

    grown: list[int] = []
    decoded = decode(encoded, read_encodings(", ".join(names)), grown.append, Limits())

    assert decoded == body
    assert len(grown) == len(names)


@UNHURRIED
@given(
    name=st.sampled_from(["gzip", "deflate", "zstd", "br"]),
    body=st.binary(max_size=300) | st.binary(max_size=300).map(gzip.compress),
)
def test_any_bytes_are_decoded_or_refused(name: str, body: bytes) -> None:
    try:
        decode(body, [name], lambda _: None, Limits())
    except UnsupportedMedia:
        raise
    except InvalidRequest:
        pass


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate", "zstd", "brotli"])
@pytest.mark.parametrize("cut", [1, 5])
def test_a_body_that_is_cut_off_is_refused(encoding: str, cut: int) -> None:
    header, encode = ENCODINGS[encoding]
    body = encode(json.dumps([NATIVE] * 100).encode())[:-cut]

    with pytest.raises(InvalidRequest, match=r"its end is missing|is not"):
        decode(body, [header], lambda _: None, Limits())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_body_that_expands_beyond_the_limit_is_refused(encoding: str) -> None:
    header, encode = ENCODINGS[encoding]
    limits = Limits(max_body_bytes=10_000, max_compression_ratio=1_000_000)
    body = encode(b'{"a":"' + b"x" * 20_000 + b'"}')
    if len(body) > len(b'{"a":"') + 20_000:
        return  # it is not compressed, and the limit is that of reading it

    with pytest.raises(TooLarge, match="max_body_bytes"):
        decode(body, read_encodings(header), lambda _: None, limits)


@pytest.mark.parametrize(
    ("encode", "name"), [(gzip.compress, "gzip"), (zstandard.compress, "zstd")]
)
def test_a_body_of_very_many_compressed_parts_is_refused(encode: Encode, name: str) -> None:
    with pytest.raises(InvalidRequest, match="in a row"):
        decode(encode(b"") * 5_000, [name], lambda _: None, Limits())
