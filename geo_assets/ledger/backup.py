"""The catalogue's database as one file, by pg_dump and pg_restore, which take the password from the environment.

Here: writing the file, and bringing an empty database to what it holds, whole or not at all. Not here: the schemas and
roles (`schema`), nor the catalogue rebuilt from its containers, which needs no file (docs/operate/backup.md).
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from geo_assets.errors import DatabaseUnavailable, InvalidBackup, InvalidConfiguration
from geo_assets.ledger.database import Connections
from geo_assets.ledger.schema import RESTORE_SCHEMA, CatalogueSchema
from geo_assets.postgres.errors import kind_of
from geo_assets.postgres.locks import Lock, script_line
from geo_assets.postgres.programs import find_postgres
from geo_assets.storage.scratch import appearing_whole

_SAID_AT_MOST = 5
_PREAMBLE_BYTES = 65_536
_EMPTY_PATH = b"set_config('search_path', '', false);"
_SEARCH_PATH = b"set_config('search_path', 'pgstac, public', false);"
_SQLSTATE = re.compile(r"(?:ERROR|FATAL|PANIC): +([0-9A-Z]{5}): ")
_MARK = "SELECT obj_description(oid, 'pg_namespace') AS digest FROM pg_namespace WHERE nspname = %s"


@dataclass(frozen=True, slots=True)
class CatalogueBackup:
    """Writes the catalogue's database to a file, and an empty database from one."""

    connections: Connections

    def contents(self) -> dict[str, int]:
        """How many items, collections and blobs the database holds now."""
        return dict(self.connections.row("count_contents"))

    def write(self, file: Path) -> dict[str, int]:
        """Write all of the database, as of one moment, to ``file``, which appears when it is complete.

        No other user may read it. Loads may go on meanwhile. Raises DatabaseUnavailable, DiskFull, FolderNotWritable.
        """
        contents = self.contents()
        with appearing_whole(file) as partial:
            partial.touch(mode=0o600)
            with partial.open("wb") as dump:
                self._dump(dump)
                os.fsync(dump.fileno())
        return contents

    def restore(self, file: Path) -> None:
        """Bring an empty database to what ``file`` holds, in one transaction; the caller migrates it afterwards.

        A database that an earlier try brought there, which was ended before it was migrated, is left as it is. Raises
        InvalidConfiguration where the database has a catalogue, InvalidBackup and DatabaseUnavailable.
        """
        digest = hashlib.sha256(_listed(file)).hexdigest()
        with self.connections.connect() as connection:
            mark = connection.execute(_MARK, (RESTORE_SCHEMA,)).fetchone()
        if mark is None or mark["digest"] != digest:
            self._require_empty()
            CatalogueSchema(self.connections).make_roles()
            self._replay(file, digest)
        with self.connections.connect() as connection:
            connection.execute("ANALYZE")

    def _require_empty(self) -> None:
        with self.connections.connect() as connection:
            query = "SELECT nspname FROM pg_namespace WHERE nspname IN ('pgstac', 'ledger')"
            found = connection.execute(query).fetchall()
            name = connection.info.dbname
        if found:
            raise InvalidConfiguration(
                f"The database {name} has a catalogue; a backup is restored into an empty one.",
                remedy="Make an empty database and let GEO_ASSETS_DATABASE_URL name it; the embedded one goes with "
                "`geo-assets db destroy`.",
            )

    def _dump(self, into: IO[bytes]) -> None:
        """All of the database into an open file: through us, so that pg_dump ends with us, and we see a full disk."""
        address, environment = self._address()
        command = [_find_program("pg_dump"), address, "--format=custom", f"--exclude-schema={RESTORE_SCHEMA}"]
        with _listening() as (said, words):
            with subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
            ) as dumping:
                assert dumping.stdout is not None
                with dumping.stdout as dump:  # closed early where our disk is full, which ends pg_dump
                    shutil.copyfileobj(dump, into)
            into.flush()
            _check("pg_dump", dumping.returncode, words())

    def _replay(self, file: Path, digest: str) -> None:
        """Run what the file says by psql, in one transaction, with PgSTAC's schema on the search path.

        pg_restore alone empties the path, and some functions of PgSTAC, on which columns of its tables depend, find
        PostGIS by it only. The transaction is the script's own: one that is cut off, whoever is killed, never comes to
        its COMMIT.
        """
        command = ["--single-transaction", "--no-comments", "--file=-", str(file)]
        psql = [_find_program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose"]
        address, environment = self._address()
        with _listening() as (said, words):
            with (
                subprocess.Popen(
                    [_find_program("pg_restore"), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                ) as reading,
                subprocess.Popen(
                    [*psql, address],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                ) as replaying,
            ):
                assert reading.stdout is not None
                assert replaying.stdin is not None
                with suppress(BrokenPipeError):  # psql has ended, and says why
                    _replay_script(reading.stdout, replaying.stdin, digest)
            _check("psql", replaying.returncode, words())
            _check("pg_restore", reading.returncode, words())

    def _address(self) -> tuple[str, dict[str, str]]:
        """The database as an option of PostgreSQL's programs, and their environment: only there is the password."""
        parts = conninfo_to_dict(self.connections.url)
        environment = dict(os.environ)
        if (password := parts.pop("password", None)) is not None:
            environment["PGPASSWORD"] = str(password)
        return f"--dbname={make_conninfo('', **parts)}", environment


def _replay_script(script: IO[bytes], into: IO[bytes], digest: str) -> None:
    """Copy the script, which marks the database as restored from what has this digest, if it comes to its end."""
    mark = f"\nCREATE SCHEMA {RESTORE_SCHEMA};\nCOMMENT ON SCHEMA {RESTORE_SCHEMA} IS '{digest}';"
    with script, into:
        into.write(script_line(Lock.MIGRATION))
        into.write(script.read(_PREAMBLE_BYTES).replace(_EMPTY_PATH, _SEARCH_PATH + mark.encode(), 1))
        shutil.copyfileobj(script, into)


def _listed(file: Path) -> bytes:
    """The table of contents of a backup, which says when it was made and of what. Raises InvalidBackup."""
    command = [_find_program("pg_restore"), "--list", str(file)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    _check("pg_restore", done.returncode, done.stderr)
    return done.stdout


@contextmanager
def _listening() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A file descriptor for what programs say, and all that they said, once they have ended."""
    reader, writer = os.pipe()
    with ThreadPoolExecutor(1) as threads, os.fdopen(writer, "wb") as said:
        heard = threads.submit(_read_all, reader)

        def words() -> bytes:
            said.close()
            return heard.result()

        yield said.fileno(), words


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _check(program: str, status: int, said: bytes) -> None:
    if not status:
        return
    words = said.decode(errors="replace").strip()
    message = f"{program} ended with status {status}: {' '.join(words.splitlines()[:_SAID_AT_MOST])}"
    state = _SQLSTATE.search(words)
    if (kind := kind_of(state and state[1], words)) is not DatabaseUnavailable:
        raise kind(message)
    if program == "pg_restore":
        raise InvalidBackup(message)
    raise DatabaseUnavailable(
        message, remedy="Check the file, the database URL, and that the client is not older than the server."
    )


def _find_program(name: str) -> str:
    """A client of the newest PostgreSQL here: it must not be older than the server."""
    try:
        return find_postgres().program(name)
    except DatabaseUnavailable:
        if found := shutil.which(name):
            return found
    raise DatabaseUnavailable(
        f"{name} is not installed here.", remedy="Install PostgreSQL's client, of the server's version or a newer one."
    )
