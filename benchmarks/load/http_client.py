"""A closed loop over HTTP: `python -m benchmarks.load.http_client TARGETS CONNECTIONS`.

Each connection is kept alive and sends the next request when the last one is answered. For each
line on standard input it prints how many requests were answered with 200, and how many otherwise.
What it does for a request is little, since it shares the machine with the service.
"""

import asyncio
import base64
import itertools
import json
import sys
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop


class Counts:
    """The answers of all connections."""

    def __init__(self) -> None:
        self.taken = 0
        self.refused = 0


class Connection(asyncio.Protocol):
    """Sends one request at a time, for ever."""

    def __init__(self, requests: list[bytes], start: int, counts: Counts) -> None:
        self._requests = itertools.cycle(requests[start:] + requests[:start])
        self._counts = counts
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Read more of the answer."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Count the answer and send the next request."""
        if self._parser.get_status_code() == 200:
            self._counts.taken += 1
        else:
            self._counts.refused += 1
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(next(self._requests))

    def connection_lost(self, _: Exception | None) -> None:
        """End the process: an answer is missing."""
        sys.exit("the service closed a connection")


async def run(targets: Path, connections: int) -> None:
    """Keep all connections busy until standard input ends."""
    (host, port), requests = read(targets)
    starts = iter(range(0, len(requests) * connections, len(requests)))
    counts = Counts()
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def tell() -> None:
        if sys.stdin.readline():
            print(counts.taken, counts.refused, flush=True)
        else:
            over.set()

    def connect() -> Connection:
        return Connection(requests, next(starts) // connections, counts)

    for _ in range(connections):
        await loop.create_connection(connect, host, port)
    loop.add_reader(sys.stdin, tell)
    await over.wait()


def read(targets: Path) -> tuple[tuple[str, int], list[bytes]]:
    """Return the address of the targets, and the bytes of each request."""
    requests = []
    for line in targets.read_text().splitlines():
        target = json.loads(line)
        url = urlsplit(target["url"])
        body = base64.b64decode(target["body"])
        headers = {name: value for name, (value,) in target["header"].items()}
        headers |= {"Host": url.netloc, "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        requests.append(f"POST {url.path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
    assert url.hostname
    assert url.port
    return (url.hostname, url.port), requests


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), int(sys.argv[2])))
