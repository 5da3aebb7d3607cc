"""Hosts that share nothing but Redis, PostgreSQL and the store: a run's own process, and Celery workers.

Here: starting and killing them. Each has a DAGSTER_HOME and a temporary folder of its own, and may have
a network of its own. Not here: the services they share (`tests.services`), the networks (`tests.networks`).
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from tests.dagster_cli import DagsterCli
from tests.networks import inside

# Which steps a worker has begun and not ended, by the events of dagster-celery and Dagster.
_UNDER_WAY = """
SELECT begun.step_key
FROM event_logs AS begun
WHERE begun.dagster_event_type = 'ENGINE_EVENT'
    AND begun.event LIKE '%%Executing steps%%'
    AND begun.event LIKE %(worker)s
    AND begun.step_key LIKE %(step)s
    AND NOT EXISTS (
        SELECT 1 FROM event_logs AS ended
        WHERE ended.step_key = begun.step_key AND ended.run_id = begun.run_id
            AND ended.dagster_event_type IN ('STEP_SUCCESS', 'STEP_FAILURE')
    )
"""


@dataclass
class CeleryHosts:
    """A run's host and its workers, on one catalogue that also holds Dagster's tables."""

    cli: DagsterCli
    networks: list[str] = field(default_factory=list)
    workers: "dict[str, subprocess.Popen[str]]" = field(default_factory=dict)
    temporary: list[str] = field(default_factory=list)

    def home(self, name: str) -> Path:
        """The DAGSTER_HOME of a worker."""
        return self.cli.home.parent / name / "home"

    def start_worker(self, name: str) -> None:
        """Start a worker on a host of its own."""
        home = self.home(name)
        home.parent.mkdir(parents=True)
        # Not below the test's folder: sockets lie in it, and their paths may have 107 bytes.
        temporary = tempfile.mkdtemp(prefix="host")
        self.temporary.append(temporary)
        self.cli.home.mkdir(exist_ok=True)
        network = self.networks[len(self.workers)] if self.networks else ""
        prefix = inside(network, without_folder=str(self.cli.home)) if network else ()
        host = replace(self.cli, home=home, variables={**self.cli.variables, "TMPDIR": temporary}, prefix=prefix)
        with (home.parent / "worker.log").open("w") as log:
            options = ("-A", "geo_assets.celery.app", "worker", "--hostname", f"{name}@%h", "--loglevel", "INFO")
            self.workers[name] = host.popen(*options, program="celery", stdout=log)

    def log(self, name: str) -> str:
        """What a worker has said."""
        return (self.home(name).parent / "worker.log").read_text()

    def kill_amid(self, step: str, *, run: "subprocess.Popen[str]", seconds: float = 120) -> str:
        """kill -9 the first worker that is at a step of this name, with all its processes; the worker's name.

        It is stopped before we look again, so that the step is under way for certain.
        """
        deadline = time.monotonic() + seconds
        with psycopg.connect(self.cli.database_url, autocommit=True) as connection:
            while True:
                for name, worker in self.workers.items():
                    bound = {"worker": f"%{name}@%", "step": f"%{step}%"}
                    if not connection.execute(_UNDER_WAY, bound).fetchall():
                        continue
                    os.killpg(worker.pid, signal.SIGSTOP)
                    if connection.execute(_UNDER_WAY, bound).fetchall():
                        os.killpg(worker.pid, signal.SIGKILL)
                        worker.wait()
                        return name
                    os.killpg(worker.pid, signal.SIGCONT)
                assert run.poll() is None, run.communicate()[0]
                assert time.monotonic() < deadline, f"no worker was ever at {step}"
                time.sleep(0.005)

    def stop(self) -> None:
        """Stop what still runs, as an operator would; kill what does not obey."""
        for worker in self.workers.values():
            if worker.poll() is None:
                worker.terminate()
        for worker in self.workers.values():
            try:
                worker.wait(timeout=20)
            finally:
                if worker.poll() is None:
                    os.killpg(worker.pid, signal.SIGKILL)
        for folder in self.temporary:
            shutil.rmtree(folder, ignore_errors=True)
