"""Serve one format over HTTP: admit, read, parse, take, answer. The hot path, so plain ASGI."""

import time

import structlog
from starlette.types import Receive, Scope, Send

from schemas.errors import AvilaError
from services.ingest import cors
from services.ingest.admission import Admission
from services.ingest.body import ClientGone
from services.ingest.events import EventResult
from services.ingest.exchange import receive_request, send_answer
from services.ingest.formats import Answer, EventFormat
from services.ingest.limits import Limits
from services.ingest.pipeline import IngestPipeline
from services.ingest.refusals import DEFECT, wrong_method
from services.ingest.request_log import RequestLog
from services.listening import client_of

_log = structlog.get_logger()


class HttpEndpoint:
    """The ASGI application of one format."""

    def __init__(
        self,
        event_format: EventFormat,
        pipeline: IngestPipeline,
        admission: Admission,
        limits: Limits,
        request_log: RequestLog,
    ) -> None:
        self._format = event_format
        self._pipeline = pipeline
        self._admission = admission
        self._limits = limits
        self._request_log = request_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; return without an answer if the client has disconnected."""
        start = time.perf_counter()
        given: dict[bytes, bytes] = dict(scope["headers"])
        if scope["method"] == "OPTIONS":
            await cors.answer_options(send, given, self._format.methods)
            return
        results: list[EventResult] = []
        try:
            answer = await self._answer(scope, given, receive, results)
        except ClientGone:
            self._request_log.disconnected(self._format.name)
            return
        except AvilaError as error:
            answer = self._format.refuse(error)
        except Exception:  # noqa: BLE001  # the client gets an answer whatever happens
            _log.exception("ingest_defect", format=self._format.name)
            answer = DEFECT
        await send_answer(send, answer, given.get(b"origin"))
        self._request_log.answered(
            self._format.name,
            answer.status,
            time.perf_counter() - start,
            results,
            client=client_of(scope),
            path=scope["path"],
        )

    async def _answer(
        self, scope: Scope, given: dict[bytes, bytes], receive: Receive, results: list[EventResult]
    ) -> Answer:
        """Process the request; appends the results of its events to `results`."""
        if scope["method"] == "HEAD" and "GET" in self._format.methods:
            return Answer(200, b"")  # HEAD is safe: clients repeat it, so it takes no events
        if scope["method"] not in self._format.methods:
            return wrong_method(self._format.methods)
        with self._admission.admit() as reservation:
            request = await receive_request(scope, given, receive, reservation, self._limits)
            batch = self._format.parse(request)
            batch.origin = given.get(b"origin", b"").decode("latin-1")
            results += await self._pipeline.take(batch)
        return self._format.answer(batch, results, self._limits.retry_after_s)
