"""geo-assets up: the database, Dagster's web server, its daemon, and the API with the map, until Ctrl-C."""

import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError

import click

from geo_assets.cli.console import clear_errors, console
from geo_assets.cli.dagster_process import dagster_process, log_file
from geo_assets.cli.database_commands import migrate_databases
from geo_assets.errors import TransientError
from geo_assets.postgres.databases import databases_running
from geo_assets.settings import Settings, project_folder

HOST = "127.0.0.1"
READY_SECONDS = 180


class DagsterNotReady(TransientError):
    """A process of Dagster's, or the API's, ended or did not answer in time."""

    code = "dagster_not_ready"
    remedy = "Read the log in the folder `GEO_ASSETS_STATE`, then start it again with `make up`."


@click.command("up")
@click.option("--port", default=3000, show_default=True, help="Port of Dagster's web UI; the next free port if taken")
@click.option(
    "--api-port", default=8000, show_default=True, help="Port of the API and the map; the next free port if taken"
)
def up_command(*, port: int, api_port: int) -> None:
    """Run PostgreSQL, Dagster's web UI and its sensors, and the API with the map until Ctrl-C."""
    settings = Settings()
    with clear_errors(), _stopping_by_signal(), databases_running(settings):
        with console.status("Migrating the database"):
            migrate_databases(settings)
        workspace = str(project_folder() / "workspace.yaml")
        free, api_free = _free_port(port), _free_port(api_port)
        server = ("dagster-webserver", "-w", workspace, "-h", HOST, "-p", str(free))
        api = ("geo-assets", "serve", "--host", HOST, "--port", str(api_free))
        address, api_address = f"http://{HOST}:{free}", f"http://{HOST}:{api_free}"
        variables = {"GEO_ASSETS_DAGSTER_SERVER": address}
        with (
            dagster_process(settings, *server, log_name="webserver") as webserver,
            dagster_process(settings, "dagster-daemon", "run", "-w", workspace, log_name="daemon") as daemon,
            dagster_process(settings, *api, log_name="api", **variables) as api_server,
        ):
            with console.status("Starting Dagster"):
                _wait_until_ready(f"{address}/server_info", "webserver", webserver, settings)
            with console.status("Starting the API"):
                _wait_until_ready(f"{api_address}/livez", "api", api_server, settings)
            console.print(f"Map:        [bold]{api_address}[/]  (API: /api/docs, catalogue: /stac)")
            console.print(f"Dagster:    [bold]{address}[/]  (sensors are running)")
            console.print(f"Sources:    {settings.sources_file}")
            console.print(f"Logs:       {log_file(settings, 'webserver').parent}")
            console.print("Stop:       Ctrl-C")
            _watch({"webserver": webserver, "daemon": daemon, "api": api_server}, settings)


@contextmanager
def _stopping_by_signal() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C both leave the block in order, and with status 0."""

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell starts a background job with SIGINT ignored, and Python would leave it so.
    previous = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        console.print("Stopped.")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port(wanted: int) -> int:
    for port in range(wanted, wanted + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise DagsterNotReady(f"Ports {wanted} to {wanted + 49} are all taken.", remedy="Choose another with --port.")


def _wait_until_ready(url: str, name: str, process: "subprocess.Popen[bytes]", settings: Settings) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise DagsterNotReady(f"The {name} did not start.", remedy=f"Read {log_file(settings, name)}.")


def _watch(processes: "dict[str, subprocess.Popen[bytes]]", settings: Settings) -> None:
    """Wait until one of the processes ends, which is an error: they are to run until Ctrl-C."""
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise DagsterNotReady(f"The {name} ended.", remedy=f"Read {log_file(settings, name)}.")
        time.sleep(1)
