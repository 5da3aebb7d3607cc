"""Work in a thread that nothing has to wait for: neither who asked, nor the end of the process.

A thread of an executor is waited for at the end; one that waits for a service that does not answer would hold that up.
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def start(work: Callable[[], T], *, name: str) -> "Future[T]":
    """Do ``work`` in a thread of its own; the future has the result."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  raised by who asks the future
            future.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return future
