"""Read the path of a request as SDKs mean it."""

import re

_slashes = re.compile("/{2,}").sub


def canonical_path(path: str) -> str:
    """Return `path` with single slashes and without a closing one.

    SDKs join a host and a path: a host that was configured with a slash leads to a doubled one, and
    some SDKs append one.
    """
    if "//" in path:
        path = _slashes("/", path)
    return path.rstrip("/") if len(path) > 1 else path
