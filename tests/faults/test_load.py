"""Much at once and for long: a burst, hours of a trickle, and a busy source beside a quiet one."""

import os
import signal
import time
from pathlib import Path

import pytest

from geo_assets.models import Channel
from tests.faults.conftest import OpenWorld
from tests.faults.fault_record import fault

pytestmark = pytest.mark.soak

GROUP = "load"
BURST = 10_000
MINUTES = float(os.environ.get("GEO_ASSETS_SOAK_MINUTES", "5"))
MOST_BYTES = 700 * 1024**2
"""What a daemon that ticks and runs in one process may hold, whatever it has done."""


def resident_bytes(pid: int) -> int:
    """What the process holds in memory now."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("path", ["storage_queue", "service_bus"])
def test_a_burst_is_taken_in_with_bounded_memory(open_world: OpenWorld, path: Channel) -> None:
    world = open_world([path])
    some = [f"burst/2024{1 + number % 12:02d}01_{number}.tif" for number in range(BURST // 20)]
    with fault(GROUP, f"a burst of {BURST:,} events of {len(some)} blobs ({path.replace('_', ' ')})") as run:
        events = world.put_silently(*some)
        for _ in range(BURST // len(some)):
            world.send(*events)
        run.over()
        daemon = world.start("--forever")
        try:
            world.wait_until_quiet([daemon], seconds=900)
            assert resident_bytes(daemon.pid) < MOST_BYTES
        finally:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        run.judged(world.judge(), blobs=len(world.blobs))


def test_a_long_trickle_leaves_memory_as_it_was(open_world: OpenWorld) -> None:
    """GEO_ASSETS_SOAK_MINUTES=60 makes it an hour."""
    world = open_world(["storage_queue", "service_bus"])
    daemon = world.start("--forever")
    held: list[int] = []
    with fault(GROUP, f"{MINUTES:.0f} minutes of changes through both queues") as run:
        try:
            end, number = time.monotonic() + MINUTES * 60, 0
            while time.monotonic() < end:
                number += 1
                world.put(*(f"soak/2024{1 + each:02d}01_.tif" for each in range(number % 5, number % 5 + 4)))
                if number % 3 == 0:
                    world.delete(next(iter(world.blobs)))
                time.sleep(2)
                held.append(resident_bytes(daemon.pid))
            run.over()
            world.wait_until_quiet([daemon])
        finally:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        third = len(held) // 3
        assert max(held[-third:]) < max(held[:third]) * 1.25 + 50 * 1024**2, held[:: max(1, third // 5)]
        run.judged(world.judge(), blobs=len(world.blobs))
