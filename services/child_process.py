"""Child processes that end with their parent, whatever ends it."""

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

# The exit code of a process that cannot run before the user changes something (`EX_CONFIG`): it is
# not restarted.
MISCONFIGURED: Final = 78

# The shell becomes the command. Its child stays in the command's process group, which keeps the id
# of the group valid, until it reads a line from our pipe (`reap`), or its end because we have died.
_WATCH: Final = """
exec 3<&0 </dev/null
(trap '' TERM; read -r word && exit; kill -TERM 0; sleep 5; kill -KILL 0) <&3 >/dev/null 2>&1 &
exec "$@" 3<&-
"""


def spawn(
    command: Sequence[str],
    output: IO[bytes] | None,
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> "subprocess.Popen[bytes]":
    """Run `command` in a session of its own, with its output in `output`; it ends when we end.

    After our death it gets SIGTERM, and SIGKILL five seconds later. Signals to the processes of our
    terminal, such as a Ctrl-C, do not reach it. Without `output`, it prints where we print.
    """
    return subprocess.Popen(  # noqa: S603 (our own command line)
        ["/bin/sh", "-c", _WATCH, command[0], *command],
        env=environment,
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output if output is None else subprocess.STDOUT,
        start_new_session=True,
    )


def reap(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process of `spawn` to end, dismiss its watching shell, return the exit code."""
    code = process.wait()
    with contextlib.suppress(BrokenPipeError, ValueError):  # the watching shell has ended too
        process.communicate(b"\n")
    return code
