"""geo-assets db and up: the database, Dagster's web server, its daemon, and the API, as processes of this machine.

Here: the databases, their migration and copies; Dagster's home folder and its processes, one job among them; all
together until Ctrl-C. The words of processes go to log files, so that the terminal stays readable. Not here: the API
itself (`serve`), and PostgreSQL's own programs (`geo_assets.postgres`).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError

import click

from geo_assets.cli.console import clear_errors, console, shown
from geo_assets.errors import InvalidConfiguration, TransientError
from geo_assets.foreign_errors import writing
from geo_assets.postgres.databases import (
    catalogue_url,
    dagster_owner_url,
    dagster_url,
    databases_running,
    embedded_postgres,
    ensure_embedded_databases,
    is_pipelines,
    login_passwords,
    owner_url,
    uses_embedded,
)
from geo_assets.settings import Settings, project_folder


@click.group("db")
def database_group() -> None:
    """Start, stop and migrate the database of the catalogue."""


@database_group.command()
def start() -> None:
    """Start the embedded PostgreSQL, make its databases, and migrate them."""
    settings = Settings()
    with clear_errors():
        _require_embedded(settings)
        cluster = embedded_postgres(settings)
        started = cluster.start()
        ensure_embedded_databases(cluster)
        migrate_databases(settings)
    console.print(f"PostgreSQL {'started' if started else 'is running already'} in {settings.state_folder}")
    console.print("Its address: geo-assets db url. To stop it: geo-assets db stop.")


@database_group.command()
def stop() -> None:
    """Stop the embedded PostgreSQL; the data stay."""
    settings = Settings()
    with clear_errors():
        _require_embedded(settings)
        stopped = embedded_postgres(settings).stop()
    console.print("PostgreSQL stopped." if stopped else "PostgreSQL was not running.")


@database_group.command()
@click.option("--owner", is_flag=True, help="Print the URL of the owner of the database")
def url(*, owner: bool) -> None:
    """Print the connection URL of the catalogue that runs and commands use."""
    with clear_errors():
        click.echo((owner_url if owner else catalogue_url)(Settings()))


@database_group.command()
def migrate() -> None:
    """Bring PgSTAC, the ledger, Dagster's tables and the logins to this release's version (idempotent)."""
    with clear_errors():
        versions = migrate_databases(Settings())
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))


@database_group.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Write the catalogue, its ledger and its tables to FILE, as of this moment, while runs go on."""
    from geo_assets.ledger.backup import CatalogueBackup
    from geo_assets.ledger.database import Connections

    with clear_errors():
        contents = CatalogueBackup(Connections(owner_url(Settings()))).write(file)
    console.print(f"{shown(str(file))}: {file.stat().st_size:,} bytes; {_counts(contents)}.")


@database_group.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def restore(file: Path) -> None:
    """Restore FILE into an empty database, and migrate it to this release (see docs/operate/backup.md)."""
    from geo_assets.ledger.backup import CatalogueBackup
    from geo_assets.ledger.database import Connections

    settings = Settings()
    with clear_errors(), databases_running(settings):
        catalogue = CatalogueBackup(Connections(owner_url(settings)))
        catalogue.restore(file)
        migrate_databases(settings)
        contents = catalogue.contents()
    console.print(f"{_counts(contents)}. Next: geo-assets census.")


@database_group.command()
def destroy() -> None:
    """Stop the embedded PostgreSQL and remove all its data."""
    settings = Settings()
    with clear_errors():
        embedded_postgres(settings).destroy()
    console.print("The embedded PostgreSQL is removed.")


def migrate_databases(settings: Settings) -> dict[str, str]:
    """Migrate the catalogue and Dagster's storage of ``settings``; the versions of the catalogue's schemas.

    Raises DatabaseIncomplete where the catalogue lacks what migrations made, and none makes again.
    """
    # Imported here: Dagster, alembic and pypgstac take two seconds, and `db url` needs none of them.
    from geo_assets.ledger.database import Connections
    from geo_assets.ledger.schema import CatalogueSchema, check_schema
    from geo_assets.postgres.dagster_storage import create_dagster_tables, give_dagster_tables

    if uses_embedded(settings):
        ensure_embedded_databases(embedded_postgres(settings))
    schema = CatalogueSchema(Connections(owner_url(settings)))
    versions = schema.install()
    check_schema(schema.connections)
    schema.grant_roles(login_passwords(settings))
    if is_pipelines(settings):
        schema.give_tables()
    if (dagster_owner := dagster_owner_url(settings)) is not None:
        give_dagster_tables(dagster_owner)
    create_dagster_tables(dagster_url(settings))
    prepare_dagster_home(settings)
    schema.finish_restore()
    return versions


def _counts(contents: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in contents.items())


def _require_embedded(settings: Settings) -> None:
    if not uses_embedded(settings):
        raise InvalidConfiguration(
            "GEO_ASSETS_DATABASE_URL names a server of your own.",
            remedy="Start and stop that server itself, or unset the variable to use the embedded one.",
        )


STOP_SECONDS = 30


def prepare_dagster_home(settings: Settings) -> Path:
    """Dagster's own folder, below the state folder, with the project's dagster.yaml in it; DAGSTER_HOME wins."""
    if "DAGSTER_HOME" in os.environ:
        return Path(os.environ["DAGSTER_HOME"])
    home = settings.state_folder / "dagster"
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project_folder() / "dagster.yaml", home / "dagster.yaml")
    return home


def log_file(settings: Settings, name: str) -> Path:
    """Where the process ``name`` writes what it says."""
    folder = settings.state_folder / "logs"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"


@contextmanager
def dagster_process(
    settings: Settings, *arguments: str, log_name: str, **variables: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program of Dagster's beside this Python, in a group of its own; the group ends with the block.

    So does geo_assets' own server, which asks Dagster's. ``variables`` join the environment.
    """
    program = Path(sys.executable).parent / arguments[0]
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(prepare_dagster_home(settings)),
        "GEO_ASSETS_STATE": str(settings.state_folder),
        "GEO_ASSETS_SOURCES": str(settings.sources_file),
        "PYTHONWARNINGS": "ignore",
        **variables,
    }
    file = log_file(settings, log_name)
    with writing(file):
        log = file.open("ab")
    with log:
        process = subprocess.Popen(
            [str(program), *arguments[1:]],
            cwd=project_folder(),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process)


def job_arguments(job: str, *, source: str) -> list[str]:
    """The command line that runs ``job`` for ``source``, as a user would type it."""
    tags = json.dumps({"dagster/partition": source})
    return ["dagster", "job", "execute", "-m", "geo_assets.definitions", "-j", job, "--tags", tags]


def end_group(process: "subprocess.Popen[Any]") -> None:
    """Ask the process to stop and wait; then end what is left of its group."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
