"""The endpoints of annotations."""

import datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.annotations import (
    MAX_ANNOTATIONS_PER_PROJECT,
    Annotation,
    AnnotationDefinition,
    decode_annotation,
    encode,
)
from services.commands import Commands
from services.query.documents.resource import Documents, DocumentSpec
from services.query.documents.routes import DocumentTypes, document_routes
from services.query.http.describe import TIME, parameter
from services.query.http.params import instant, now_ms, project_of, read_moment, read_page
from services.query.http.routes import RouteGroup
from services.topic_view import TopicView


class AnnotationResponse(msgspec.Struct, frozen=True):
    """An annotation as it is shown; `created_at` and `updated_at` in milliseconds since 1970."""

    id: str
    revision: int
    version: int
    created_at: int
    updated_at: int
    at: datetime.datetime
    text: str
    url: str


class AnnotationListResponse(msgspec.Struct, frozen=True):
    """Some of a project's annotations, by id; `next` is the next page's `after`, null at last."""

    annotations: list[AnnotationResponse]
    next: str | None


def _define(parts: dict[str, Any], annotation: Annotation) -> AnnotationDefinition:
    return AnnotationDefinition(**parts, annotation=annotation)


def _show(definition: AnnotationDefinition) -> AnnotationResponse:
    annotation = definition.annotation
    return AnnotationResponse(
        definition.id,
        definition.revision,
        definition.version,
        definition.created_at,
        definition.updated_at,
        annotation.at,
        annotation.text,
        annotation.url,
    )


_SPEC: Final = DocumentSpec(
    kind=AnnotationDefinition.KIND,
    plural="annotations",
    read=decode_annotation,
    define=_define,
    body=lambda definition: definition.annotation,
    counts_alike=lambda before, after: before == after,
    encode=encode,
    show=_show,
    page=AnnotationListResponse,
)


class Annotations(Documents[Annotation, AnnotationDefinition]):
    """The endpoints under `/api/projects/{project}/annotations`."""

    max_per_project = MAX_ANNOTATIONS_PER_PROJECT

    def __init__(self, view: TopicView[Any], commands: Commands) -> None:
        super().__init__(_SPEC, view, commands)

    async def list(self, request: Request) -> Response:
        """Show a page of those of a span of time, by id."""
        project = project_of(request)
        after, limit = read_page(request)
        first, last = read_moment(request, "from"), read_moment(request, "to")
        self._view.require()
        found = sorted(
            (
                one
                for one in self.definitions.of(project)
                if one.id > after
                and (first is None or one.at_ms >= first)
                and (last is None or one.at_ms < last)
            ),
            key=lambda one: one.id,
        )
        return self._page(found, limit)

    def _completed(self, project: str, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:  # noqa: ARG002 (the same in all projects)
        """Date an annotation without a time now."""
        return {"at": instant(now_ms()), **fields}


ANNOTATION_ROUTES: Final = RouteGroup(
    document_routes(
        DocumentTypes(
            _SPEC.kind, _SPEC.plural, Annotation, AnnotationResponse, AnnotationListResponse
        ),
        filters=(
            parameter("from", TIME, "Only annotations of this moment or later ones."),
            parameter("to", TIME, "Only annotations of earlier moments."),
        ),
        summary="Mark a moment, such as a deploy; charts show it",
    ),
    (Annotation, AnnotationResponse, AnnotationListResponse),
)
