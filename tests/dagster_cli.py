"""Jobs run as a user runs them: `dagster job execute` in a process of its own."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from tests.faults.killing import Moment
from tests.pipeline import SOURCE
from tests.services import PROJECT, own_environment


@dataclass(frozen=True)
class DagsterCli:
    """The command line on one database, with a DAGSTER_HOME of its own."""

    home: Path
    database_url: str
    sources_path: Path
    variables: dict[str, str]
    module: str = "geo_assets.definitions"
    prefix: tuple[str, ...] = ()
    is_queued: bool = True
    """Whether runs wait for the daemon; else the web server starts them itself."""

    def popen(
        self, *arguments: str, program: str = "dagster", stdout: int | IO[str] = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        """Start `dagster ARGUMENTS` (or another program of the venv) in a process group of its own."""
        self.home.mkdir(exist_ok=True)
        instance = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
        if not self.is_queued:
            instance["run_coordinator"] = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
            del instance["concurrency"]["runs"]
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(instance))
        return subprocess.Popen(
            [*self.prefix, str(Path(sys.executable).parent / program), *arguments],
            cwd=PROJECT,
            env=own_environment(
                DAGSTER_HOME=str(self.home),
                GEO_ASSETS_DATABASE_URL=self.database_url,
                GEO_ASSETS_SOURCES=str(self.sources_path),
                **self.variables,
            ),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def start_job(self, job: str, *, source: str = SOURCE, moment: Moment | None = None) -> "subprocess.Popen[str]":
        """Start a job for one source, with ``moment`` in a process that is killed there."""
        tags = json.dumps({"dagster/partition": source})
        arguments = ("job", "execute", "-m", self.module, "-j", job, "--tags", tags)
        if moment is None:
            return self.popen(*arguments)
        return self.popen("-m", "tests.faults.killing", str(moment), "dagster", *arguments, program="python")

    def kill_job_at(self, job: str, moment: Moment, *, source: str = SOURCE) -> None:
        """Run a job until it is killed at the moment; fails where it never comes to it."""
        with self.start_job(job, source=source, moment=moment) as process:
            output, _ = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, f"never killed {moment}: {process.returncode}\n{output[-4000:]}"

    def run_job(self, job: str, *, source: str = SOURCE) -> tuple[int, str]:
        """Run a job for one source to its end; (exit status, output)."""
        with self.start_job(job, source=source) as process:
            output, _ = process.communicate(timeout=300)
        return process.returncode, output
