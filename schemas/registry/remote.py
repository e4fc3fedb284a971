"""A schema registry with Confluent's REST API, accessed by Confluent's client."""

import random
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, TypeVar

from confluent_kafka.schema_registry import Schema as Text
from confluent_kafka.schema_registry import SchemaRegistryClient

# It raises the errors of one of two HTTP libraries, whichever is installed.
from confluent_kafka.schema_registry.common._httpx_compat import httpx
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.avro.schema import Schema
from schemas.errors import Conflict, InvalidRequest, Misconfigured, Unavailable

T = TypeVar("T")

_CALL_S: Final = 10
_MAX_PAUSE_S: Final = 1.0
_TRANSIENT: Final = {408, 429, 500, 502, 503, 504}


class RemoteRegistry:
    """The registry at `url`, which may contain `user:password@`; see `SchemaRegistry`.

    `ca_file` has the certificates of the authorities that it is trusted by, for https.

    Every call may raise `Misconfigured`: the registry refuses the credentials, or the service at
    that address is not a registry.
    """

    def __init__(self, url: str, *, ca_file: Path | None = None, timeout_s: float = 120.0) -> None:
        self._timeout_s = timeout_s
        self._schemas: dict[int, Schema] = {}
        # Retries end when the time is over, not after a number of attempts.
        conf = {"url": url, "timeout": min(_CALL_S, timeout_s), "max.retries": 0}
        if ca_file is not None:
            conf["ssl.ca.location"] = str(ca_file)
        self._client = SchemaRegistryClient(conf)

    def register(self, subject: str, schema: Schema) -> int:
        """Register `schema` under `subject`; see `SchemaRegistry`."""
        text = Text(schema.text, "AVRO")
        schema_id = self._ask(lambda: self._client.register_schema(subject, text))
        self._schemas[schema_id] = schema
        return schema_id

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        """Look up schemas, each once per process; see `SchemaRegistry`."""
        found = {schema_id: self._find(schema_id) for schema_id in ids}
        return {schema_id: schema for schema_id, schema in found.items() if schema is not None}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _find(self, schema_id: int) -> Schema | None:
        if schema_id not in self._schemas:
            text = self._ask(lambda: self._text(schema_id))
            if text is None or text.schema_type not in {None, "AVRO"} or text.references:
                return None
            try:
                self._schemas[schema_id] = Schema(text.schema_str or "")
            except InvalidRequest:
                return None
        return self._schemas[schema_id]

    def _text(self, schema_id: int) -> Text | None:
        try:
            return self._client.get_schema(schema_id)
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                return None
            raise

    def _ask(self, call: Callable[[], T]) -> T:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return call()
            except httpx.TransportError as error:
                problem: Exception = error
            except SchemaRegistryError as error:
                if error.http_status_code not in _TRANSIENT:
                    raise _refused(error) from error
                problem = error
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the schema registry of AVILA_SCHEMA_REGISTRY_URL does not answer: {problem}"
                ) from problem
            time.sleep(random.uniform(0, _MAX_PAUSE_S))  # noqa: S311


def _refused(error: SchemaRegistryError) -> Exception:
    match error.http_status_code:
        case 409:
            return Conflict(error.error_message)
        case 422:
            return InvalidRequest(error.error_message)
        case status:
            return Misconfigured(
                f"the schema registry of AVILA_SCHEMA_REGISTRY_URL answers {status} "
                f"({error.error_message}): correct the address or its credentials"
            )
