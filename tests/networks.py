"""Networks of their own for workers on one machine: Linux, as root, with `ip` (iproute2).

Here: network namespaces in which a few ports of 127.0.0.1 lead to the services that listen outside.
"""

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

_CLONE_NEWNET = 0x40000000


@contextmanager
def separate_networks(count: int, *, ports: Sequence[int]) -> Iterator[list[str]]:
    """Network namespaces that reach nothing but ``ports``, on their own loopback; their names."""
    names = [f"geo_assets_{os.getpid()}_{number}" for number in range(count)]
    try:
        for name in names:
            _ip(f"netns add {name}")
            _ip(f"-n {name} link set lo up")
        with _forwarding(names, ports):
            yield names
    finally:
        for name in names:
            _ip(f"netns delete {name}", check=False)


def inside(network: str, *, without_folder: str) -> tuple[str, ...]:
    """The start of a command that runs in ``network`` and sees nothing of a folder."""
    hide = 'mount -t tmpfs none "$0" && exec "$@"'
    return ("ip", "netns", "exec", network, "sh", "-c", hide, without_folder)


@contextmanager
def _forwarding(networks: Sequence[str], ports: Sequence[int]) -> Iterator[None]:
    started, stop = threading.Event(), threading.Event()
    # Made in the namespaces, listened on from outside: a socket stays where it was made.
    doors = [(_listen(network, port), port) for network in networks for port in ports]

    async def serve() -> None:
        servers = [await asyncio.start_server(partial(_carry, port), sock=door) for door, port in doors]
        started.set()
        await asyncio.to_thread(stop.wait)
        for server in servers:
            server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(timeout=10), "the services cannot be reached from the namespaces"
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _listen(network: str, port: int) -> socket.socket:
    """A socket on 127.0.0.1 of a namespace; this thread is back in its own one afterwards."""
    enter = ctypes.CDLL(None, use_errno=True).setns
    with Path("/proc/thread-self/ns/net").open() as here, Path("/run/netns", network).open() as there:
        if enter(there.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter network namespace {network}: this needs root")
        try:
            return socket.create_server(("127.0.0.1", port))
        finally:
            enter(here.fileno(), _CLONE_NEWNET)


async def _carry(port: int, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
    with closing(near_writer), suppress(OSError, asyncio.CancelledError):
        far, far_writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(far_writer):
            ways = [asyncio.ensure_future(_pump(near, far_writer)), asyncio.ensure_future(_pump(far, near_writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()


def _ip(arguments: str, *, check: bool = True) -> None:
    subprocess.run(["ip", *arguments.split()], check=check)
