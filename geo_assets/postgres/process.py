"""The server process of a data directory, as its postmaster.pid and the operating system tell.

Here: whether a server runs, where it listens, and ending it. Not here: making or starting one
(`geo_assets.postgres.embedded`). Works without the PostgreSQL programs, which may have been uninstalled since.
"""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from geo_assets.errors import DatabaseUnavailable
from geo_assets.postgres.programs import Identity, run_as

POLL_SECONDS = 0.1

# Every process of a server works in its data directory.
_FIND_ORPHAN = 'for cwd in /proc/[0-9]*/cwd; do [ "$(readlink "$cwd")" = "$1" ] && exit 0; done; exit 1'


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running server; port 0 and no socket folder while it has not said where it listens."""

    pid: int
    port: int
    socket_folder: str
    is_ready: bool


def read_postmaster(data: Path) -> Postmaster | None:
    """The server that runs on the directory ``data``; None where there is none, or only its stale file."""
    pid, lines = _read_pid_file(data)
    if pid is None or not _serves(pid, data):
        return None
    # Its lines: pid, data directory, start time, port, socket folder, address, shared memory, status.
    lines += [""] * (8 - len(lines))
    return Postmaster(pid, int(lines[3] or 0), lines[4], lines[7].strip() == "ready")


def wait_until_ready(data: Path, *, seconds: float) -> bool:
    """Wait until the server of ``data`` takes connections; False where it ended instead.

    Raises DatabaseUnavailable where neither happens in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        postmaster = read_postmaster(data)
        if postmaster is None or postmaster.is_ready:
            return postmaster is not None
        time.sleep(POLL_SECONDS)
    raise DatabaseUnavailable(f"The PostgreSQL server of {data} is not ready after {seconds:.0f} s.")


def end_postmaster(data: Path, *, by: signal.Signals, seconds: float = 60) -> bool:
    """End the server of ``data``; whether there was one.

    SIGINT ends its connections and shuts it down, SIGQUIT leaves the rest to recovery at the next start.
    """
    postmaster = read_postmaster(data)
    if postmaster is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(postmaster.pid, by)
    deadline = time.monotonic() + seconds
    while _serves(postmaster.pid, data):
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(f"The PostgreSQL server {postmaster.pid} does not stop after {seconds:.0f} s.")
        time.sleep(POLL_SECONDS)
    return True


def forget_stale_pid(data: Path, identity: Identity | None) -> None:
    """Remove a postmaster.pid whose number another process has by now, for PostgreSQL would not start.

    Numbers come round fast in a container, where a dead postmaster may also stay as a zombie. A number
    of no process is left to PostgreSQL; so is one of another PostgreSQL: it says what is wrong.
    """
    pid, _ = _read_pid_file(data)
    if pid is None or not _exists(pid) or "postgres" in _command(pid):
        return
    deadline = time.monotonic() + 30
    # With the file goes PostgreSQL's own guard against backends that outlive their postmaster.
    while run_as(identity, ["/bin/sh", "-c", _FIND_ORPHAN, "sh", str(data)]).returncode == 0:
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(f"Processes of an earlier PostgreSQL server still work in {data}.")
        time.sleep(POLL_SECONDS)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _read_pid_file(data: Path) -> tuple[int | None, list[str]]:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
        return None, []
    except PermissionError as error:
        raise DatabaseUnavailable(
            f"{data} belongs to another user.", remedy="Run as that user, or set GEO_ASSETS_STATE to another folder."
        ) from error


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _serves(pid: int, data: Path) -> bool:
    """Whether the process is alive, no zombie, and the postmaster of ``data``."""
    command = _command(pid)
    return "postgres" in command and f"-D {data}" in command


def _command(pid: int) -> str:
    """The command line of a process; "" where it is a zombie or there is none.

    Its cwd would tell more, but root may not read that in a container without CAP_SYS_PTRACE.
    """
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    answer = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout
