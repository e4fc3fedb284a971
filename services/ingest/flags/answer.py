"""The answers of `/flags` and `/decide`, in the formats that PostHog's SDKs have asked for.

| asked for                       | `featureFlags`                    | `flags`                    |
|---------------------------------|-----------------------------------|----------------------------|
| `/decide` without `v`, or `v=1` | the keys of those that are on     | records                    |
| `/decide?v=2`                   | key to value of those that are on | records                    |
| `/decide?v=3` and later         | key to value                      | records                    |
| `/flags`, `v` below 4           | key to value                      | records                    |
| `/flags?v=4` and later          | key to value                      | records with the value too |

Each SDK finds the members that it reads. `featureFlagPayloads` has the payloads of those that are
on, each as JSON in a text. A flag whose value cannot be computed now is left out, and from `v=4` of
`/flags` on its record says `failed`; `errorsWhileComputingFlags` is true then, so that SDKs keep
the value that they have.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from services.ingest.flags.rules import Outcome, Rule

_TYPED_SINCE: Final = 4
_ALL_SINCE: Final = 3


def flags_answer(
    path: str,
    version: int,
    decided: Mapping[Rule, Outcome | None],
    config: Mapping[str, object],
    now_ms: int,
) -> bytes:
    """Return the body of an answer; an outcome of None is one that cannot be computed."""
    is_typed = version >= _TYPED_SINCE and path.startswith("/flags")
    records: dict[str, msgspec.Raw] = {}
    values: dict[str, bool | str] = {}
    payloads: dict[str, str] = {}
    has_errors = False
    for rule, outcome in decided.items():
        if outcome is None:
            has_errors = True
            if is_typed:
                records[rule.key] = rule.failed
            continue
        records[rule.key] = outcome.typed if is_typed else outcome.record
        values[rule.key] = outcome.value
        if outcome.payload is not None:
            payloads[rule.key] = outcome.payload
    return msgspec.json.encode(
        {
            **config,
            "config": {"enable_collect_everything": True},
            "errorsWhileComputingFlags": has_errors,
            "evaluatedAt": now_ms,
            "featureFlagPayloads": payloads,
            "featureFlags": _shaped(path, version, values),
            "flags": records,
            "requestId": secrets.token_hex(16),
        }
    )


def _shaped(path: str, version: int, values: dict[str, bool | str]) -> Any:  # one of three shapes
    if version >= _ALL_SINCE or path.startswith("/flags"):
        return values
    on = {key: value for key, value in values.items() if value}
    return on if version > 1 else list(on)
