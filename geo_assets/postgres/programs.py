"""The PostgreSQL programs on this machine, and running them as a user they accept.

Here: finding an installed server that has what PgSTAC needs, and running its programs as an
ordinary user. Not here: the cluster those programs serve (`geo_assets.postgres.embedded`).
"""

import contextlib
import os
import pwd
import re
import shutil
import stat
import subprocess
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
