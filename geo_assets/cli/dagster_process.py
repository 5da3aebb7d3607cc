"""Dagster as child processes: its home folder, one job, and the web server with its daemon.

Their words go to log files, so that the terminal stays readable.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from geo_assets.foreign_errors import writing
from geo_assets.settings import Settings, project_folder

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
