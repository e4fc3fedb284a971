"""The endpoints of feature flags. The ingest service answers the SDKs that ask for them."""

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import counts_alike
from schemas.errors import Conflict, InvalidRequest
from schemas.flags import (
    MAX_FLAGS_PER_PROJECT,
    Flag,
    FlagDefinition,
    FlagVariant,
    Payload,
    decode_flag,
    encode,
)
from schemas.operators.segment import SegmentDefinition
from services.commands import Commands, Write
from services.query.documents.resource import Documents, DocumentSpec, shown_fields
from services.query.http.params import encode_response
from services.query.views.catalog import Definitions
from services.query.views.changes import Key, has_previous
from services.query.views.progress import StatusResponse
from services.topic_view import TopicView

FlagState = Literal["active", "inactive", "waiting", "broken"]


class FlagResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as it is shown; `created_at` and `updated_at` in milliseconds since 1970."""

    id: str
    revision: int
    version: int
    created_at: int
    updated_at: int
    key: str
    segment: str | None
    variants: tuple[FlagVariant, ...]
    rollout_percentage: float
    payload: Payload
    active: bool
    name: str
    description: str


class FlagListResponse(msgspec.Struct, frozen=True):
    """Some of a project's flags, by id; `next` is the next page's `after`, null at the end."""

    flags: list[FlagResponse]
    next: str | None


class FlagStatusResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a flag does, and why.

    `state` is `active`; `inactive`: SDKs do not see the flag; `waiting`: nobody sees the feature
    before its segment is live; or `broken`: the segment is missing, so that nobody sees the
    feature, or it has failed. `reason` says so in words; it is empty for a flag that is active.
    """

    state: FlagState
    reason: str


# Returns the status of a segment that exists.
SegmentStatus = Callable[[SegmentDefinition], StatusResponse]


def _define(parts: dict[str, Any], flag: Flag) -> FlagDefinition:
    return FlagDefinition(**parts, flag=flag)


def _show(definition: FlagDefinition) -> FlagResponse:
    return FlagResponse(**shown_fields(definition, definition.flag))


SPEC: Final = DocumentSpec(
    kind=FlagDefinition.KIND,
    plural="flags",
    read=decode_flag,
    define=_define,
    body=lambda definition: definition.flag,
    counts_alike=counts_alike,
    encode=encode,
    show=_show,
    page=FlagListResponse,
)


class Flags(Documents[Flag, FlagDefinition]):
    """The endpoints under `/api/projects/{project}/flags`."""

    max_per_project = MAX_FLAGS_PER_PROJECT

    def __init__(
        self,
        segments: Definitions[SegmentDefinition],
        segment_status: SegmentStatus,
        view: TopicView[Any],
        commands: Commands,
    ) -> None:
        super().__init__(SPEC, view, commands)
        self._segments = segments
        self._segment_status = segment_status

    async def status(self, request: Request) -> Response:
        """Show what a flag does."""
        definition = self.find(request)
        return encode_response(self._status(definition))

    def _status(self, definition: FlagDefinition) -> FlagStatusResponse:
        flag = definition.flag
        if not flag.active:
            return FlagStatusResponse(state="inactive", reason="the flag is not active")
        if flag.segment is None:
            return FlagStatusResponse(state="active", reason="")
        key = Key(definition.project_id, flag.segment)
        segment = self._segments.find(key)
        if segment is None:
            reason = f"there is no segment {flag.segment}: the flag is false for everybody"
            if self._segments.unreadable(key) is not None:
                reason = f"the segment {flag.segment} cannot be read: replace or delete it"
            return FlagStatusResponse(state="broken", reason=reason)
        status = self._segment_status(segment)
        if status.state == "failed":
            reason = (
                f"the segment {flag.segment} has failed, so its members stay as they were: "
                f"{status.reason}"
            )
            return FlagStatusResponse(state="broken", reason=reason)
        # The members of an earlier version count until the new one is live.
        if status.state == "backfilling" and not has_previous(segment):
            reason = f"the segment {flag.segment} is backfilling: its members are not known yet"
            return FlagStatusResponse(state="waiting", reason=reason)
        return FlagStatusResponse(state="active", reason="")

    def _check(self, project: str, body: Flag) -> None:
        """Refuse an active flag of a segment that does not exist."""
        if not body.active or body.segment is None:
            return
        if self._segments.find(Key(project, body.segment)) is None:
            raise InvalidRequest(f"there is no segment {body.segment}", "segment")

    def _write(self, definition: FlagDefinition, before: FlagDefinition | None) -> Write[Any]:
        """Refuse a second flag of one key."""
        for other in self.definitions.of(definition.project_id):
            if other.flag.key == definition.flag.key and other.id != definition.id:
                raise Conflict(
                    f"the flag of the key {definition.flag.key} is {other.id}: change that one, or "
                    "delete it first"
                )
        return super()._write(definition, before)
