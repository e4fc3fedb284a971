"""How processes write their logs: structlog's lines, and tracebacks as Python itself writes them.

By default structlog lets `rich` draw a traceback with the values of all local variables. Those are
write keys and events of senders; and drawing them takes seconds, in which a service does nothing
else.
"""

import sys

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback


def configure_logs() -> None:
    """Let this process write its logs so; call it before the first line."""
    colors = sys.stdout is not None and sys.stdout.isatty()
    lines = ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)
    *processors, _ = structlog.get_config()["processors"]
    structlog.configure(processors=[*processors, lines])
