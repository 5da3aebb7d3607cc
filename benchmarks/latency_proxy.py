"""A TCP proxy that makes everything behind it seem far away: what a store in the cloud adds to each request.

Bytes are held back, not slowed down: each chunk goes on half the latency after it came, either way. It runs
in a process of its own, so that it takes no time from the interpreter that is measured.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

Address = tuple[str, int]

_CHUNK_BYTES = 256 * 1024
_CHUNKS_ON_THE_WAY = 256


@contextmanager
def running_latency_proxy(target: Address, *, latency_ms: float) -> Iterator[int]:
    """Have a proxy to ``target`` on a free port of 127.0.0.1, which is yielded."""
    host, port = target
    command = [sys.executable, "-m", "benchmarks.latency_proxy", host, str(port), str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def serve_latency_proxy(target: Address, *, latency_seconds: float) -> asyncio.Server:
    """Start a proxy to ``target`` on a free port of 127.0.0.1; a round trip takes ``latency_seconds`` longer."""

    async def carry(near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        with closing(near_writer):
            try:
                far, far_writer = await asyncio.open_connection(*target)
                with closing(far_writer):
                    async with asyncio.TaskGroup() as ways:
                        ways.create_task(_pump(near, far_writer, latency_seconds / 2))
                        ways.create_task(_pump(far, near_writer, latency_seconds / 2))
            except* OSError:
                pass  # one side hung up, and so do we on the other

    return await asyncio.start_server(carry, "127.0.0.1", 0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Hand on all that comes, each chunk ``delay`` seconds after it came, until the end of the stream."""
    clock = asyncio.get_running_loop().time
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_ON_THE_WAY)

    async def deliver() -> None:
        while True:
            due, chunk = await on_the_way.get()
            await asyncio.sleep(due - clock())
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    async with asyncio.TaskGroup() as both:
        both.create_task(deliver())
        while chunk := await reader.read(_CHUNK_BYTES):
            await on_the_way.put((clock() + delay, chunk))
        await on_the_way.put((clock() + delay, b""))


async def _main(host: str, port: str, latency_ms: str) -> None:
    server = await serve_latency_proxy((host, int(port)), latency_seconds=float(latency_ms) / 1000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:4]))
