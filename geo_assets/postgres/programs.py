"""The PostgreSQL programs on this machine, run as a user they accept, and the server process of a data directory.

Here: finding an installed server that has what PgSTAC needs, and running its programs as an ordinary user; whether a
server runs, where it listens, and ending it, as its postmaster.pid and the operating system tell: that works without
the programs, which may have been uninstalled since. Not here: the cluster that is made, started and served
(`geo_assets.postgres.embedded`).
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from geo_assets.errors import DatabaseUnavailable

REQUIRED_EXTENSIONS = ("postgis", "btree_gist", "unaccent")

LAYOUTS = (
    ("/usr/lib/postgresql/*/bin", "/usr/share/postgresql/{version}/extension", "/usr/lib/postgresql/{version}/lib"),
    ("/usr/pgsql-*/bin", "/usr/pgsql-{version}/share/extension", "/usr/pgsql-{version}/lib"),
    ("/usr/bin", "/usr/share/pgsql/extension", "/usr/lib64/pgsql"),
    *(
        (
            f"{brew}/opt/postgresql@*/bin",
            brew + "/share/postgresql@{version}/extension",
            brew + "/lib/postgresql@{version}",
        )
        for brew in ("/opt/homebrew", "/usr/local")
    ),
)
"""The programs, their extensions, their libraries: Debian and Ubuntu, the PGDG packages of RHEL, RHEL's own, and
Homebrew on Apple silicon and on Intel."""

# In the order that leaves no half-made `data` behind a crash; the password is never an argument.
_INIT_CLUSTER = """
umask 077 && cd "$1" && shift && rm -rf data.new && cat > password || exit 1
"$@" --pwfile=password -D data.new; status=$?
rm -f password
[ $status -eq 0 ] || exit $status
: > data.new/geo_assets.conf && echo "include 'geo_assets.conf'" >> data.new/postgresql.conf && mv data.new data
"""


@dataclass(frozen=True, slots=True)
class PostgresInstall:
    """An installed server: the folder of its programs and its major version."""

    bindir: Path
    version: int

    def program(self, name: str) -> str:
        """The full path of one of its programs."""
        return str(self.bindir / name)


@dataclass(frozen=True, slots=True)
class Identity:
    """The ordinary user a server runs as."""

    uid: int
    gid: int


def find_postgres(version: int | None = None) -> PostgresInstall:
    """The newest installed server with PostGIS, btree_gist and unaccent, or the one of ``version``.

    Raises DatabaseUnavailable where there is none.
    """
    installs = [install for install in _installs() if version in (None, install.version)]
    if not installs:
        wanted = f"PostgreSQL {version or ''}".rstrip()
        raise DatabaseUnavailable(
            f"No {wanted} server with {', '.join(REQUIRED_EXTENSIONS)} is installed here.",
            remedy=f"Run `make setup`, or install it: apt-get install postgresql-{version or 'NN'}-postgis-3.",
        )
    return max(installs, key=lambda install: install.version)


def server_identity(folder: Path) -> Identity | None:
    """Whom the server runs as: the owner of its ``folder``, else an ordinary user; None for ourselves.

    PostgreSQL refuses to run as root, and its data only serve the user who owns them.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and (owner := folder.stat()).st_uid != 0:
        return Identity(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(user.pw_uid, user.pw_gid)
    raise DatabaseUnavailable("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`.")


def run_as(
    identity: Identity | None,
    command: Sequence[str],
    *,
    output: IO[bytes] | int = subprocess.PIPE,
    text: str | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` as ``identity``: ``text`` on its stdin, its stdout and stderr into ``output``."""
    return subprocess.run(
        command,
        cwd="/",  # ours may lie where that user may not go
        # A PGPORT or PGDATA of the caller means another server; English messages, for we read them.
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        input=(text or "").encode(),
        stdout=output,
        stderr=subprocess.STDOUT,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=[] if identity else None,
        start_new_session=True,  # Ctrl-C in the terminal is for us, not for the server
        check=False,
    )


def init_cluster(
    home: Path, identity: Identity | None, *, superuser: str, password: str, durable: bool, output: IO[bytes]
) -> bool:
    """Make ``home``/data, which includes a geo_assets.conf, with the newest server; whether that went well."""
    initdb = [find_postgres().program("initdb"), "-U", superuser, "--encoding=UTF8", "--auth=scram-sha-256"]
    initdb += [] if durable else ["--no-sync"]
    for locale in ("--locale=C.UTF-8", "--no-locale"):  # not every system has the first
        command = ["/bin/sh", "-c", _INIT_CLUSTER, "sh", str(home), *initdb, locale]
        if run_as(identity, command, output=output, text=password).returncode == 0:
            return True
    return False


def make_private_folder(folder: Path, identity: Identity | None) -> None:
    """Make ``folder`` for the server's user alone; one that already exists must be so too."""
    uid = identity.uid if identity else os.geteuid()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if identity:
            os.chown(folder, identity.uid, identity.gid)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise DatabaseUnavailable(
            f"{folder} already exists and is not a private folder of user {uid}.",
            remedy="Check whose folder it is, and remove it.",
        )


def write_as(identity: Identity | None, file: Path, *, text: str) -> None:
    """Write ``file`` as ``identity``: root must not follow the links of a folder that is another user's."""
    script = 'umask 077 && cat > "$1"'
    result = run_as(identity, ["/bin/sh", "-c", script, "sh", str(file)], text=text)
    if result.returncode:
        raise DatabaseUnavailable(f"{file} cannot be written: {result.stdout.decode(errors='replace').strip()}.")


def can_write(identity: Identity | None, folder: Path) -> bool:
    """Whether ``identity`` reaches and may write ``folder``: tried out, for modes of parents do not tell.

    By sh and not by Python: our interpreter may itself lie where that user may not go.
    """
    probe = 'cd "$1" && touch .probe && rm .probe'
    return run_as(identity, ["/bin/sh", "-c", probe, "sh", str(folder)]).returncode == 0


def _installs() -> Iterator[PostgresInstall]:
    for bindir, extensions, libraries in _places():
        if (bindir / "initdb").exists() and (version := _version(bindir)):
            controls = Path(extensions.format(version=version))
            has_controls = all((controls / f"{name}.control").exists() for name in REQUIRED_EXTENSIONS)
            # Debian has PostGIS's control file and its library in two packages.
            if has_controls and any(Path(libraries.format(version=version)).glob("postgis-*")):
                yield PostgresInstall(bindir, version)


def _places() -> Iterator[tuple[Path, str, str]]:
    for pattern, extensions, libraries in LAYOUTS:
        for bindir in Path("/").glob(pattern.lstrip("/")):
            yield bindir, extensions, libraries
    if pg_config := shutil.which("pg_config"):
        command = [pg_config, "--bindir", "--sharedir", "--pkglibdir"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if len(folders := answer.stdout.splitlines()) == len(command) - 1:
            yield Path(folders[0]), f"{folders[1]}/extension", folders[2]


def _version(bindir: Path) -> int | None:
    try:
        answer = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r"\) (\d+)", answer.stdout)
    return int(found[1]) if found else None


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
