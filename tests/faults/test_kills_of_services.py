"""kill -9 of the daemon, the webserver and the code server, each started again as a supervisor does.

The set that `geo-assets up` starts, with the code server as a process of its own, on both kinds of queue at once.
"""

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.faults.conftest import OpenWorld
from tests.faults.event_world import EventWorld
from tests.faults.fault_record import fault
from tests.services import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.soak

GROUP = "kill -9 of a service during a run"
SERVICES = ("code server", "daemon", "webserver")
STARTS_WITHIN_SECONDS = 240


@dataclass
class Services:
    """Dagster's processes on one world."""

    world: EventWorld
    code_port: int = field(default_factory=free_port)
    web_port: int = field(default_factory=free_port)
    running: "dict[str, subprocess.Popen[str]]" = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one of `SERVICES`."""
        workspace = self.world.home / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": self.code_port, "location_name": "geo_assets"}
        self.world.home.mkdir(exist_ok=True)
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
        code = ("api", "grpc", "-m", "geo_assets.definitions", "-h", "127.0.0.1", "-p", str(self.code_port))
        commands = {
            "code server": ("tests.faults.hurried", "dagster", *code),
            "daemon": ("dagster._daemon", "run", "-w", str(workspace)),
            "webserver": ("dagster_webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(self.web_port)),
        }
        self.running[name] = self.world.run(*commands[name])

    def kill(self, name: str) -> None:
        """kill -9 the service with all its processes, as the end of its container does."""
        os.killpg(self.running[name].pid, signal.SIGKILL)
        self.running.pop(name).wait()

    def answers(self) -> bool:
        """Whether the webserver serves, and has loaded the definitions from the code server."""
        query = b'{"query": "{repositoriesOrError {__typename}}"}'
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web_port}/graphql", query, {"Content-Type": "application/json"}
        )
        with suppress(OSError), urllib.request.urlopen(request, timeout=10) as response:
            return b"RepositoryConnection" in response.read()
        return False

    def stop(self) -> None:
        """End all that runs."""
        for name in list(self.running):
            self.kill(name)


@pytest.fixture
def services(open_world: OpenWorld) -> Iterator[Services]:
    """The whole set, serving."""
    services = Services(open_world(["storage_queue", "service_bus"]))
    try:
        yield services
    finally:
        services.stop()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_killed_amid_a_run_and_started_again_goes_on(services: Services, name: str) -> None:
    world = services.world
    world.happen()
    for service in SERVICES:
        services.start(service)
    wait_until(
        lambda: world.pipeline.status().described > len(world.blobs) // 2, "during a run", seconds=STARTS_WITHIN_SECONDS
    )
    with fault(GROUP, name) as run:
        services.kill(name)
        assert world.pipeline.status().pending > 0
        services.start(name)
        run.over()
        world.wait_until_quiet([*services.running.values()])
        wait_until(services.answers, "the webserver answers", seconds=STARTS_WITHIN_SECONDS)
        services.stop()
        run.judged(world.judge(), blobs=len(world.blobs))
