"""The descriptions of the Server-Sent Events of live results."""

from collections.abc import Sequence

from services.query.http.describe import (
    Json,
    content_response,
    operation,
    parameter,
    path_parameter,
)
from services.query.http.routes import PROJECT_PATH


def event_stream_paths(topics: Sequence[str]) -> dict[str, Json]:
    """Return the paths of the document that follow one of the topics, and one definition of it."""
    events = content_response("text/event-stream", {"type": "string"})
    topic: Json = {"name": "topic", "in": "path", "required": True}
    last_id: Json = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the last message that came: only what has changed is sent.",
        "schema": {"type": "string"},
    }
    sample = parameter("sample", {"type": "number"}, "Of events: the share of them that is sent.")
    return {
        f"{PROJECT_PATH}/live/{{topic}}": {
            "parameters": [
                path_parameter("project"),
                topic | {"schema": {"enum": [*topics, "events"]}},
            ],
            "get": operation(
                "followTopic",
                "Results or events as they come, as Server-Sent Events",
                {"200": events},
                404,
                parameters=(sample, last_id),
            ),
        },
        f"{PROJECT_PATH}/live/{{topic}}/{{id}}": {
            "parameters": [
                path_parameter("project"),
                topic | {"schema": {"enum": [*topics]}},
                path_parameter("id"),
            ],
            "get": operation(
                "followDefinition",
                "The results of one definition as they come, as Server-Sent Events",
                {"200": events},
                404,
                parameters=(last_id,),
            ),
        },
    }
