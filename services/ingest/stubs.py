"""Answer the requests that browser SDKs make before they send events: few extras are enabled.

This service has no recordings, surveys or destinations, and flags only if the project has defined
some; SDKs that read so ask for nothing more.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.ingest import cors

# The remote configuration of PostHog's browser SDK. It asks for flags if it has some.
_CONFIG: Final = {
    "analytics": {"endpoint": "/i/v0/e/"},
    "autocaptureExceptions": False,
    "autocapture_opt_out": False,
    "captureDeadClicks": False,
    "capturePerformance": False,
    "conversations": False,
    "elementsChainAsString": True,
    "errorTracking": {"autocaptureExceptions": False, "suppressionRules": []},
    "hasFeatureFlags": False,
    "heatmaps": False,
    "isAuthenticated": False,
    "logs": {"captureConsoleLogs": False},
    "productTours": False,
    "sessionRecording": False,
    "siteApps": [],
    "supportedCompression": ["gzip", "gzip-js"],
    "surveys": False,
    "toolbarParams": {},
    "toolbarVersion": "toolbar",
}

_CONFIG_WITH_FLAGS: Final = _CONFIG | {"hasFeatureFlags": True}


def remote_config(*, has_flags: bool) -> dict[str, object]:
    """Return the configuration of a project that has flags, or has none; do not change it."""
    return _CONFIG_WITH_FLAGS if has_flags else _CONFIG


def _posthog_script(token: str, config: dict[str, object]) -> Response:
    encoded = msgspec.json.encode({"config": config, "siteApps": []})
    return Response(
        b"(window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{})[%b]=%b;\n"
        % (msgspec.json.encode(token), encoded),
        media_type="text/javascript",
    )


def _segment_settings(request: Request) -> dict[str, object]:
    """Point analytics.js at the host that it asked for its settings, as seen outside of proxies."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    return {
        "edgeFunction": {},
        "enabledMiddleware": {},
        "integrations": {
            "Segment.io": {
                "addBundledMetadata": True,
                "apiHost": f"{request.headers.get('host', '')}/v1",
                "apiKey": request.path_params["write_key"],
                "protocol": forwarded
                if forwarded in {"http", "https"}
                else request.scope["scheme"],
                "unbundledIntegrations": [],
                "versionSettings": {"componentTypes": ["browser"], "version": "4.4.7"},
            }
        },
        "legacyVideoPluginsEnabled": False,
        "middlewareSettings": {},
        "plan": {
            "group": {"__default": {"enabled": True}},
            "identify": {"__default": {"enabled": True}},
            "track": {"__default": {"enabled": True, "integrations": {}}},
        },
        "remotePlugins": [],
    }


def _rudderstack_source(request: Request) -> dict[str, object]:
    key = request.query_params.get("writeKey", "")
    return {
        "source": {
            "config": {
                "statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}
            },
            "connections": [],
            "destinations": [],
            "enabled": True,
            "id": key,
            "name": "avila",
            "workspaceId": "avila",
            "writeKey": key,
        }
    }


def _stub(path: str, answer: Callable[[Request], dict[str, object] | Response]) -> Route:
    async def respond(request: Request) -> Response:
        if request.method == "OPTIONS":
            return cors.options_response(request, {"GET", "POST"})
        content = answer(request)
        response = (
            content
            if isinstance(content, Response)
            else Response(msgspec.json.encode(content), media_type="application/json")
        )
        # The answer contains the caller's key, so caches must not share it.
        response.headers["cache-control"] = "no-store"
        if origin := request.headers.get("origin"):
            response.raw_headers += cors.allow_origin(origin.encode("latin-1"))
        return response

    return Route(path, respond, methods=["GET", "POST", "OPTIONS"])


def stub_routes(has_flags: Callable[[str], bool]) -> tuple[Route, ...]:
    """Return the routes; `has_flags` says whether the project of a write key may have flags."""

    def config_of(request: Request) -> dict[str, object]:
        return remote_config(has_flags=has_flags(request.path_params["token"]))

    def script_of(request: Request) -> Response:
        return _posthog_script(request.path_params["token"], config_of(request))

    return (
        _stub("/v1/projects/{write_key}/settings", _segment_settings),
        _stub("/sourceConfig", _rudderstack_source),
        _stub("/array/{token}/config", config_of),
        _stub("/array/{token}/config.js", script_of),
    )
