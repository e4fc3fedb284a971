"""The patterns that fields of requests must match, as Python's `re` reads them."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from schemas.alerts import Alert
from schemas.annotations import Annotation, decode_annotation
from schemas.dashboards import Dashboard
from schemas.errors import InvalidRequest
from schemas.keys import DashboardLink, Project, QueryToken, WriteKey
from schemas.notices.subscription import Subscription, decode_subscription
from schemas.queries import QUERIES
from services.apply.kinds import KINDS

TYPES = (
    *(Alert, Annotation, Dashboard, DashboardLink, Project, QueryToken),
    *(Subscription, WriteKey),
    *(kind.body for kind in KINDS.values()),
    *(spec.request for spec in QUERIES),
)


def patterns(part: Any) -> Iterator[str]:
    match part:
        case dict():
            if isinstance(found := part.get("pattern"), str):
                yield found
            for one in part.values():
                yield from patterns(one)
        case list() | tuple():
            for one in part:
                yield from patterns(one)


def test_no_pattern_of_a_request_accepts_a_line_feed_at_the_end() -> None:
    found = set(patterns(msgspec.json.schema_components(TYPES)))
    assert found
    # `$` alone matches before a line feed that ends a text.
    assert [one for one in found if re.search(r"(?<!\\)\$\Z", one)] == []


@pytest.mark.parametrize(
    "address",
    [
        "ada@shop.example\\n",
        "=?utf-8?q?ada=0D=0ABcc=3Aeve=40shop.example?=@shop.example",
        "ada@shop.example,eve@shop.example",
        "Ada <ada@shop.example>",
    ],
)
def test_a_recipient_is_one_address_and_nothing_that_a_header_reads_otherwise(address: str) -> None:
    body = f'{{"destination": {{"type": "email", "to": ["{address}"]}}}}'
    with pytest.raises(InvalidRequest, match=r"destination\.to\[0\]"):
        decode_subscription(body.encode())


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://ci.example/7\\n", "\\n"])
def test_an_annotation_leads_to_a_web_address_only(url: str) -> None:
    body = f'{{"at": "2026-11-22T12:00:00Z", "text": "deploy", "url": "{url}"}}'
    with pytest.raises(InvalidRequest, match="url"):
        decode_annotation(body.encode())
