"""Waiting for a moment in another process, by polling quickly."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 120) -> None:
    """Poll until the condition holds; fails naming the moment that never came."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never reached the moment {what}"
        time.sleep(0.02)
