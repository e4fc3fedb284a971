"""Load on gRPC streams, as a process: `python -m benchmarks.load.stream_client SETTINGS-AS-JSON`.

ghz cannot do it: of a bidirectional stream it takes the time of the whole call, not that from a
message to its acknowledgement, and it sends messages an interval apart, which falls behind the
clock when sending takes time. So this is a client of our own, in a process of its own.

With a `rate`, open loop: message n of all streams is due n / rate seconds after the start whatever
became of those before it, and its latency is counted from then until its response is read, so that
nothing is left out when the service, or this client itself, is late. It prints the latencies in ms
in the order of the messages, and why it ended early if it did.

Without one, closed loop: each stream has `window` messages unanswered. For each line on standard
input it prints how many were answered, and a 0.
"""

import asyncio
import base64
import itertools
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import grpc
import msgspec

METHOD = "/avila.v1.Ingest/TrackStream"
_LAST_ANSWERS_S = 10.0


class Given(msgspec.Struct, kw_only=True):
    """The settings; the messages are those of the file `targets`."""

    address: str
    key: str
    targets: str
    streams: int
    window: int = 0
    rate: float = 0
    seconds: float = 0


Call = grpc.aio.StreamStreamCall[bytes, bytes]


class Client:
    """Streams, each on a connection of its own."""

    def __init__(self, given: Given) -> None:
        self._given = given
        lines = Path(given.targets).read_text().splitlines()
        self._messages = [base64.b64decode(json.loads(line)["body"]) for line in lines]
        self._answered = 0

    async def run(self) -> None:
        """Run the load that the settings describe."""
        async with asyncio.TaskGroup() as group:
            if self._given.rate:
                group.create_task(self._open_loop())
                return
            loop = asyncio.get_running_loop()
            streams = [
                group.create_task(self._keep_busy(number)) for number in range(self._given.streams)
            ]

            def tell() -> None:
                if sys.stdin.readline():
                    print(self._answered, 0, flush=True)
                else:
                    loop.remove_reader(sys.stdin)
                    for stream in streams:
                        stream.cancel()

            loop.add_reader(sys.stdin, tell)

    def _channel(self, number: int) -> grpc.aio.Channel:
        # Channels of equal options share a connection.
        return grpc.aio.insecure_channel(self._given.address, options=[("avila.number", number)])

    def _open(self, channel: grpc.aio.Channel) -> Call:
        metadata = (("authorization", f"Bearer {self._given.key}"),)
        call: Call = channel.stream_stream(METHOD)(metadata=metadata)
        return call

    def _message(self, number: int) -> bytes:
        return self._messages[number % len(self._messages)]

    async def _keep_busy(self, number: int) -> None:
        room = asyncio.Semaphore(self._given.window)
        async with self._channel(number) as channel:
            call = self._open(channel)

            async def send() -> None:
                with suppress(asyncio.InvalidStateError):  # ended: who reads knows why
                    for place in itertools.count(number):
                        await room.acquire()
                        await call.write(self._message(place))

            async def receive() -> None:
                while await call.read():
                    self._answered += 1
                    room.release()
                raise ConnectionError("the service ended the stream")

            await asyncio.gather(send(), receive())

    async def _open_loop(self) -> None:
        given = self._given
        total = int(given.rate * given.seconds)
        latencies: dict[int, float] = {}
        begin = time.monotonic() + 0.5  # the streams are open by then

        def due(place: int) -> float:
            return begin + place / given.rate

        async def stream(number: int) -> None:
            places = range(number, total, given.streams)
            async with self._channel(number) as channel:
                call = self._open(channel)

                async def send() -> None:
                    with suppress(asyncio.InvalidStateError):
                        for place in places:
                            await asyncio.sleep(max(0.0, due(place) - time.monotonic()))
                            await call.write(self._message(place))
                        await call.done_writing()

                async def receive() -> None:
                    for place in places:
                        if not await call.read():
                            raise ConnectionError("the service ended the stream")
                        latencies[place] = 1_000 * (time.monotonic() - due(place))

                await asyncio.gather(send(), receive())

        trouble = ""
        try:
            async with asyncio.timeout(given.seconds + _LAST_ANSWERS_S):
                await asyncio.gather(*(stream(number) for number in range(given.streams)))
        except TimeoutError:
            trouble = f"{total - len(latencies)} of {total} messages were not answered in time"
        except grpc.aio.AioRpcError as error:
            trouble = f"{error.code().name}: {error.details()}"
        except ConnectionError as error:
            trouble = str(error)
        in_order = [latencies.get(place) for place in range(total)]
        print(json.dumps({"latencies_ms": in_order, "trouble": trouble}))


if __name__ == "__main__":
    asyncio.run(Client(msgspec.json.decode(sys.argv[1], type=Given)).run())
