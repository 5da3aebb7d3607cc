"""Each service goes away, slows down, resets connections or answers 503, amid events and runs, and comes back.

Seconds in the quick part, half a minute each in `make soak`. Meanwhile trouble is said; nothing is deleted or refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import pytest

from geo_assets.models import Channel
from tests.faults.conftest import OpenWorld
from tests.faults.event_world import EventWorld
from tests.faults.fault_record import fault
from tests.faults.ticking import Ticking, ticking
from tests.peers.flaky_proxy import FlakyProxy, Mode

GROUP = "outages"
QUICK_SECONDS, SOAK_SECONDS = 2.0, 30.0
SERVICES: dict[str, tuple[Channel, tuple[Mode, ...]]] = {
    "blob store": ("storage_queue", ("down", "slow", "reset", "busy")),
    "storage queue": ("storage_queue", ("down", "slow", "reset", "busy")),
    "service bus": ("service_bus", ("down", "slow", "reset")),
    "PostgreSQL": ("storage_queue", ("down", "slow", "reset")),
}
QUICK = {("storage queue", "down"), ("PostgreSQL", "reset")}


@dataclass
class Between:
    """What stands between geo_assets and one service, and geo_assets ticking on its other side."""

    proxy: FlakyProxy
    loop: Ticking


@contextmanager
def standing_before(service: str, world: EventWorld) -> Iterator[Between]:
    """Put a proxy before one service of the world; the world itself goes past it."""
    with FlakyProxy(_port(service, world)) as proxy:
        environment, database_url = _through(proxy, service, world)
        with ticking(world, environment=environment, database_url=database_url) as loop:
            yield Between(proxy, loop)


def _port(service: str, world: EventWorld) -> int:
    if service == "service bus":
        assert world.peer is not None
        return world.peer.port
    if service == "storage queue":
        assert world.azurite.queue_port is not None
        return world.azurite.queue_port
    return world.azurite.port if service == "blob store" else int(urlsplit(world.pipeline.database_url).port or 5432)


def _through(proxy: FlakyProxy, service: str, world: EventWorld) -> tuple[Mapping[str, str], str | None]:
    """The variables, and the database's url, that lead through the proxy."""
    old, new = f"127.0.0.1:{proxy.target}", f"127.0.0.1:{proxy.port}"
    if service == "PostgreSQL":
        parts = urlsplit(world.pipeline.database_url)
        return {}, urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[0] + f"@{new}"))
    variables = dict(world.azurite.environment)
    if world.peer is not None:
        variables["AZURE_SERVICEBUS_CONNECTION_STRING"] = world.peer.connection_string
    through = {name: value.replace(old, new) for name, value in variables.items()}
    assert through != variables, variables
    return through, None


def cases() -> Iterator[object]:
    """Every service with every mode: some for two seconds, all for thirty."""
    for service, (path, modes) in SERVICES.items():
        for mode in modes:
            name = f"{service} {mode}"
            if (service, mode) in QUICK:
                yield pytest.param(service, path, mode, QUICK_SECONDS, id=f"{name} for a moment")
            yield pytest.param(service, path, mode, SOAK_SECONDS, id=name, marks=pytest.mark.soak)


@pytest.mark.parametrize(("service", "path", "mode", "seconds"), list(cases()))
def test_an_outage_deletes_nothing_refuses_nothing_and_is_over_when_it_is_over(
    open_world: OpenWorld, service: str, path: Channel, mode: Mode, seconds: float
) -> None:
    world = open_world([path])
    world.put(*(f"before/2024{1 + number:02d}01_.tif" for number in range(6)))
    with standing_before(service, world) as between, fault(GROUP, f"{service} {mode}, {seconds:.0f} s") as run:
        between.loop.converge()
        world.put(*(f"during/2024{1 + number:02d}01_.tif" for number in range(6)), "before/20240101_.tif")
        world.delete("before/20240201_.tif")
        between.proxy.mode = mode
        between.loop.turn_for(seconds)
        assert mode == "slow" or between.loop.said, "nobody said that something was away"
        assert len(world.pipeline.items()) >= 5
        assert not world.pipeline.failures()
        between.proxy.mode = "up"
        run.over()
        between.loop.converge()
        run.judged(world.judge(), blobs=len(world.blobs))
