"""`/flags` and `/decide`, where PostHog's SDKs ask which features a person sees.

Anybody may ask who has a write key, and write keys are public: they are in web pages. So an answer
has values of flags and nothing else: no memberships, no names of segments, and the same reason
whether a person is outside of the segment or of the share, or is not known at all. What a request
claims of a person changes nothing: only events do.
"""

import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from schemas.errors import AvilaError
from services.ingest import cors
from services.ingest.access import Access
from services.ingest.admission import Admission
from services.ingest.body import ClientGone
from services.ingest.exchange import receive_request, send_answer
from services.ingest.flags.answer import flags_answer
from services.ingest.flags.ask import Ask, read_ask
from services.ingest.flags.catalog import FlagCatalog, SegmentKey
from services.ingest.flags.members import SegmentMembers
from services.ingest.flags.person import person_hash
from services.ingest.flags.rules import Outcome, Rule
from services.ingest.formats import Answer
from services.ingest.formats.posthog import PostHog
from services.ingest.limits import Limits
from services.ingest.refusals import DEFECT, wrong_method
from services.ingest.request_log import RequestLog
from services.ingest.stubs import remote_config
from services.listening import client_of

_log = structlog.get_logger()

PATHS: Final = ("/flags", "/decide")
METHODS: Final = frozenset({"GET", "POST"})
NAME: Final = "flags"
# SDKs send properties of the person and of groups, which are not read.
MAX_BODY_BYTES: Final = 262_144


class FlagsEndpoint:
    """The ASGI application of both paths. `clock` returns milliseconds since 1970."""

    def __init__(
        self,
        catalog: FlagCatalog,
        members: SegmentMembers,
        access: Access,
        admission: Admission,
        limits: Limits,
        request_log: RequestLog,
        clock: Callable[[], int],
    ) -> None:
        self._catalog = catalog
        self._members = members
        self._access = access
        self._admission = admission
        self._limits = msgspec.structs.replace(
            limits,
            max_body_bytes=min(limits.max_body_bytes, MAX_BODY_BYTES),
            max_compressed_bytes=min(limits.max_compressed_bytes, MAX_BODY_BYTES),
        )
        self._request_log = request_log
        self._clock = clock
        self._errors = PostHog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; return without an answer if the client has disconnected."""
        start = time.perf_counter()
        given: dict[bytes, bytes] = dict(scope["headers"])
        if scope["method"] == "OPTIONS":
            await cors.answer_options(send, given, METHODS)
            return
        try:
            answer = await self._answer(scope, given, receive)
        except ClientGone:
            self._request_log.disconnected(NAME)
            return
        except AvilaError as error:
            answer = self._errors.refuse(error)
        except Exception:  # noqa: BLE001  # the client gets an answer whatever happens
            _log.exception("ingest_defect", format=NAME)
            answer = DEFECT
        await send_answer(send, answer, given.get(b"origin"), [(b"cache-control", b"no-store")])
        seconds = time.perf_counter() - start
        client, path = client_of(scope), scope["path"]
        self._request_log.answered(NAME, answer.status, seconds, client=client, path=path)

    async def _answer(self, scope: Scope, given: dict[bytes, bytes], receive: Receive) -> Answer:
        if scope["method"] == "HEAD":
            return Answer(200, b"")
        if scope["method"] not in METHODS:
            return wrong_method(METHODS)
        with self._admission.admit() as reservation:
            request = await receive_request(scope, given, receive, reservation, self._limits)
            ask = read_ask(request)
            return self._answer_ask(request.path, ask, given.get(b"origin", b"").decode("latin-1"))

    def _answer_ask(self, path: str, ask: Ask, origin: str) -> Answer:
        now_ms = self._clock()
        if ask.person is None:
            config = remote_config(has_flags=False)
            return Answer(200, flags_answer(path, ask.version, {}, config, now_ms))
        project_id = self._access.admit(ask.key, origin, 0)
        rules = self._catalog.rules(project_id)
        config = remote_config(has_flags=bool(rules))
        if ask.flag_keys is not None:
            rules = tuple(rule for rule in rules if rule.key in ask.flag_keys)
        decided = self._decide(project_id, rules, ask.person)
        return Answer(200, flags_answer(path, ask.version, decided, config, now_ms))

    def _decide(
        self, project_id: str, rules: tuple[Rule, ...], person: str
    ) -> dict[Rule, Outcome | None]:
        hashed = person_hash(person.encode())
        decided: dict[Rule, Outcome | None] = {}
        for rule in rules:
            is_member: bool | None = True
            if rule.segment is not None:
                key = SegmentKey(project_id, rule.segment)
                is_in = self._catalog.exists(key)
                is_member = self._members.contains(key, hashed) if is_in else False
            decided[rule] = rule.decide(person, is_member)
        return decided
