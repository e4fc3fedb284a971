"""The server of the protocol: lists the tools, and calls them with the caller's token."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from schemas.definitions import is_id
from schemas.errors import AvilaError, InvalidRequest, Unauthorized
from services.errors import describe
from services.mcp.answers import NOTE, ToolAnswer, error_answer, tool_answer
from services.mcp.rest import Refused, Rest
from services.mcp.schemas import Schema
from services.mcp.tools import Tool, make_tools

log = structlog.get_logger(__name__)

_INSTRUCTIONS: Final = (
    "Product analytics of Avila: funnels, cohorts, segments, metrics and predictions that a stream "
    "keeps up to date, and queries over all events. Every answer says which events are in it "
    f"(`positions`, `complete_until`) and how final it is (`state`, `incomplete`). {NOTE}"
)
_READ_ONLY: Final = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)

# Of any transport: the request is that of HTTP, or None.
_Context = ServerRequestContext[Any, Any]
# Returns the token of the caller; raises `Unauthorized` without one.
TokenOf = Callable[[_Context], str]


def make_server(rest: Rest, token_of: TokenOf, default_project: str = "") -> Server[Any]:
    """Return the server, whose tools ask `rest` with the token of each call."""
    tools = {one.name: one for one in make_tools(default_project)}
    listed = types.ListToolsResult(tools=[_described(one) for one in tools.values()])

    async def list_tools(_: _Context, __: object) -> types.ListToolsResult:
        return listed

    async def call(context: _Context, asked: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            tool = tools.get(asked.name)
            if tool is None:
                raise InvalidRequest(f"there is no tool {asked.name[:60]!r}", "name")
            given = dict(asked.arguments or {})
            project = given.pop("project", default_project)
            if not (isinstance(project, str) and is_id(project)):
                raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "project")
            answer = await tool.run(partial(rest.ask, project, token_of(context)), given)
        except Refused as refused:
            return _error(refused.error)
        except AvilaError as error:
            return _error(msgspec.to_builtins(describe(error)))
        except Exception:  # whatever it is, the agent gets an answer
            log.exception("tool_failed", tool=asked.name[:60])
            return _error({"code": "defect", "message": "an internal error; it has been logged"})
        return _result(tool_answer(answer))

    server: Server[Any] = Server(
        "avila", instructions=_INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call
    )
    server.middleware.clear()  # telemetry that nobody collects
    return server


def token_of_header(context: _Context) -> str:
    """Return the token that a request over HTTP carries.

    Raises:
        Unauthorized: it carries none.
    """
    header = "" if context.request is None else context.request.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("send a query token as `Authorization: Bearer aqt_…`")
    return str(token.strip())


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.schema,
        output_schema=_OUTPUT,
        annotations=_READ_ONLY,
    )


def _output_schema() -> Schema:
    _, parts = msgspec.json.schema_components([ToolAnswer], ref_template="#/$defs/{name}")
    schema: Schema = parts["ToolAnswer"]
    return schema


_OUTPUT: Final = _output_schema()


def _result(answer: ToolAnswer) -> types.CallToolResult:
    text = types.TextContent(type="text", text=msgspec.json.encode(answer).decode())
    return types.CallToolResult(content=[text], structured_content=msgspec.to_builtins(answer))


def _error(error: dict[str, Any]) -> types.CallToolResult:
    text = types.TextContent(type="text", text=msgspec.json.encode(error_answer(error)).decode())
    return types.CallToolResult(content=[text], is_error=True)
