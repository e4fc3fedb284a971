"""What browser SDKs ask for before they send: answers that say "no extras, go on".

There are no feature flags, recordings, surveys or destinations here, and an SDK that is told so
asks no further.
"""

import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.ingest import cors

# PostHog's: a browser SDK's remote configuration.
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

# Both shapes of flags: `/flags?v=2` reads the one, `/decide` and `/flags` the other.
_FLAGS: Final = {
    **_CONFIG,
    "config": {"enable_collect_everything": True},
    "errorsWhileComputingFlags": False,
    "featureFlagPayloads": {},
    "featureFlags": {},
    "flags": {},
}


def _posthog_flags(_: Request) -> dict[str, Any]:
    return _FLAGS | {"requestId": secrets.token_hex(16)}


def _posthog_config(_: Request) -> dict[str, Any]:
    return _CONFIG


def _posthog_script(request: Request) -> Response:
    token = msgspec.json.encode(request.path_params["token"])
    config = msgspec.json.encode({"config": _CONFIG, "siteApps": []})
    return Response(
        b"(window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{})[%b]=%b;\n"
        % (token, config),
        media_type="text/javascript",
    )


def _segment_settings(request: Request) -> dict[str, Any]:
    """Have analytics.js send its events where it has asked for its settings.

    It is told what it said of where that is, behind whatever proxies.
    """
    outside = request.headers.get("x-forwarded-proto", "")
    return {
        "edgeFunction": {},
        "enabledMiddleware": {},
        "integrations": {
            "Segment.io": {
                "addBundledMetadata": True,
                "apiHost": f"{request.headers.get('host', '')}/v1",
                "apiKey": request.path_params["write_key"],
                "protocol": outside if outside in {"http", "https"} else request.scope["scheme"],
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


def _rudderstack_source(request: Request) -> dict[str, Any]:
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


def _stub(path: str, answer: Callable[[Request], dict[str, Any] | Response]) -> Route:
    async def respond(request: Request) -> Response:
        if request.method == "OPTIONS":
            return cors.permit_stub(request)
        content = answer(request)
        response = (
            content
            if isinstance(content, Response)
            else Response(msgspec.json.encode(content), media_type="application/json")
        )
        # It says whose it is, so that no cache may give it to others.
        response.headers["cache-control"] = "no-store"
        if origin := request.headers.get("origin"):
            response.raw_headers += cors.allow(origin.encode("latin-1"))
        return response

    return Route(path, respond, methods=["GET", "POST", "OPTIONS"])


STUBS: Final = (
    _stub("/v1/projects/{write_key}/settings", _segment_settings),
    _stub("/sourceConfig", _rudderstack_source),
    _stub("/sourceConfig/", _rudderstack_source),
    _stub("/flags", _posthog_flags),
    _stub("/flags/", _posthog_flags),
    _stub("/decide", _posthog_flags),
    _stub("/decide/", _posthog_flags),
    _stub("/array/{token}/config", _posthog_config),
    _stub("/array/{token}/config.js", _posthog_script),
)
