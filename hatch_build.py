"""Puts the stubs of `schemas/avila.proto` and the page into the wheel.

Git ignores both, and a checkout has them from `make`. A wheel without them fails to build.
"""

import runpy
from pathlib import Path
from typing import Any

import grpc_tools
from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Generated(BuildHookInterface):
    """Runs before the files of a wheel are gathered."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate the stubs, build the page, and name them as parts of the wheel."""
        if version == "editable":
            return
        schemas = Path(self.root, "schemas")
        out = [f"--{kind}_out={schemas}" for kind in ("python", "pyi")]
        # The types of protobuf itself, which only the command line of grpc_tools finds by itself.
        known = Path(grpc_tools.__file__ or "").parent / "_proto"
        paths = [f"--proto_path={path}" for path in (schemas, known)]
        if protoc.main(["protoc", *paths, *out, "avila.proto"]):
            raise RuntimeError("protoc cannot make stubs of schemas/avila.proto")
        runpy.run_path(str(Path(self.root, "services/page/build.py")))["build"]()
        build_data["artifacts"] += [
            "/schemas/avila_pb2.py",
            "/schemas/avila_pb2.pyi",
            "/services/page/built/**",
        ]
