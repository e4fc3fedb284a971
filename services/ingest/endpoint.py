"""A door on HTTP: admit, read, parse, take, answer. Plain ASGI, as it is the hot route."""

import time

import structlog
from starlette.types import Receive, Scope, Send

from schemas.errors import AvilaError
from services.connections import WHOLE_BODY
from services.ingest import cors
from services.ingest.admission import Admission
from services.ingest.body import Gone, read_body
from services.ingest.events import Result
from services.ingest.formats import Answer, EventFormat, Request
from services.ingest.limits import Limits
from services.ingest.pipeline import IngestPipeline
from services.ingest.refusals import DEFECT, headers, wrong_method
from services.ingest.request_log import RequestLog
from services.listening import client_of

_log = structlog.get_logger()


class Endpoint:
    """Serves one door."""

    def __init__(
        self,
        door: EventFormat,
        path: IngestPipeline,
        admission: Admission,
        limits: Limits,
        journal: RequestLog,
    ) -> None:
        self._door = door
        self._path = path
        self._admission = admission
        self._limits = limits
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; returns without an answer if the client has left."""
        start = time.perf_counter()
        given: dict[bytes, bytes] = dict(scope["headers"])
        if scope["method"] == "OPTIONS":
            await cors.permit(send, given, self._door.methods)
            return
        results: list[Result] = []
        try:
            answer = await self._answer(scope, given, receive, results)
        except Gone:
            self._journal.gone(self._door.name)
            return
        except AvilaError as error:
            answer = self._door.refuse(error)
        except Exception:  # noqa: BLE001  # whatever it is, this client gets an answer
            _log.exception("ingest_defect", door=self._door.name)
            answer = DEFECT
        await _send(send, answer, given.get(b"origin"))
        self._journal.answered(
            self._door.name,
            answer.status,
            time.perf_counter() - start,
            results,
            client=client_of(scope),
            path=scope["path"],
        )

    async def _answer(
        self, scope: Scope, given: dict[bytes, bytes], receive: Receive, results: list[Result]
    ) -> Answer:
        """Do what is asked; what became of the events is in `results` then."""
        if scope["method"] not in self._door.methods:
            return wrong_method(self._door.methods)
        length = given.get(b"content-length")
        encoding = given.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        with self._admission.admit() as hold:
            body = await read_body(
                receive,
                encoding,
                int(length) if length else None,
                hold,
                self._limits,
                is_here=WHOLE_BODY in scope.get("extensions", ()),
            )
            kind = given.get(b"content-type", b"").decode("latin-1")
            request = Request(
                method=scope["method"],
                path=scope["path"],
                query=scope["query_string"],
                headers=given,
                content_type=kind.partition(";")[0].strip().lower(),
                body=body,
                client_ip=client_of(scope),
                limits=self._limits,
                grow=hold.grow,
            )
            batch = self._door.parse(request)
            batch.origin = given.get(b"origin", b"").decode("latin-1")
            results += await self._path.take(batch)
        return self._door.answer(batch, results, self._limits.retry_after_s)


async def _send(send: Send, answer: Answer, origin: bytes | None) -> None:
    lines = headers(answer)
    if origin is not None:
        lines += cors.allow(origin)
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    await send({"type": "http.response.body", "body": answer.body})
