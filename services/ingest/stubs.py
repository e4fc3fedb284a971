"""Answer the requests that browser SDKs make before they send events: no extras are enabled.

This service has no feature flags, recordings, surveys or destinations; SDKs that read so ask for
nothing more.
"""

import secrets
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.ingest import cors

# The remote configuration of PostHog's browser SDK.
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

# `/flags?v=2` reads `flags`; `/flags` and `/decide` read `featureFlags`.
_FLAGS: Final = {
    **_CONFIG,
    "config": {"enable_collect_everything": True},
    "errorsWhileComputingFlags": False,
    "featureFlagPayloads": {},
    "featureFlags": {},
    "flags": {},
}


def _posthog_flags(_: Request) -> dict[str, object]:
    return _FLAGS | {"requestId": secrets.token_hex(16)}


def _posthog_config(_: Request) -> dict[str, object]:
    return _CONFIG


def _posthog_script(request: Request) -> Response:
    token = msgspec.json.encode(request.path_params["token"])
    config = msgspec.json.encode({"config": _CONFIG, "siteApps": []})
    return Response(
        b"(window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{})[%b]=%b;\n"
        % (token, config),
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


STUBS: Final = (
    _stub("/v1/projects/{write_key}/settings", _segment_settings),
    _stub("/sourceConfig", _rudderstack_source),
    _stub("/flags", _posthog_flags),
    _stub("/decide", _posthog_flags),
    _stub("/array/{token}/config", _posthog_config),
    _stub("/array/{token}/config.js", _posthog_script),
)
