"""The catalogue's database as one file, by pg_dump and pg_restore, which take the password from the environment.

Here: writing the file, and bringing an empty database to what it holds. Not here: the schemas and roles (`schema`), nor
the catalogue made anew from its containers, which needs no file (docs/operate/backup.md).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from geo_assets.errors import DatabaseUnavailable, InvalidConfiguration
from geo_assets.postgres_programs import find_postgres
from geo_assets.resources.database import DatabaseResource
from geo_assets.resources.schema import CatalogueSchema

_SAID_AT_MOST = 5
_PREAMBLE_BYTES = 65_536
_EMPTY_PATH = b"set_config('search_path', '', false)"
_SEARCH_PATH = b"set_config('search_path', 'pgstac, public', false)"
_SCHEMAS = ["pgstac", "ledger"]
# What installing leaves in the database beside roles and extensions; PgSTAC has one function outside of its schema.
_DROPS = ("DROP SCHEMA pgstac, ledger CASCADE", "DROP FUNCTION IF EXISTS public.pgstac_admin_owns()")


class CatalogueBackup(DatabaseResource):
    """Writes the catalogue's database to a file, and an empty database from one."""

    def contents(self) -> dict[str, int]:
        """How many items, collections and blobs the database holds now."""
        return dict(self.row("count_contents"))

    def write(self, file: Path) -> dict[str, int]:
        """Write all of the database, as of one moment, to ``file``, which appears when it is whole.

        Nobody else may read it. Loads may go on meanwhile. Raises DatabaseUnavailable.
        """
        contents = self.contents()
        file = file.absolute()
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            partial = Path(folder) / "dump"
            partial.touch(mode=0o600)
            address, environment = self._address()
            _run("pg_dump", address, "--format=custom", f"--file={partial}", environment=environment)
            partial.replace(file)
        return contents

    def restore(self, file: Path) -> dict[str, int]:
        """Bring an empty database to what ``file`` holds, of this release or an older one, with roles and grants.

        Raises InvalidConfiguration where the database has a catalogue, and DatabaseUnavailable, after which what is
        half there has to be dropped.
        """
        schema = CatalogueSchema(database_url=self.resolved_url())
        _run("pg_restore", "--list", str(file))
        self._require_empty()
        # The roles of PgSTAC and ours, which no file of one database holds; the schemas themselves come from the file.
        schema.install()
        schema.grant_roles()
        with self.connect() as connection:
            for statement in _DROPS:
                connection.execute(statement)
        self._replay(file)
        schema.install()
        schema.grant_roles()
        schema.verify()
        with self.connect() as connection:
            connection.execute("ANALYZE")
        return self.contents()

    def _require_empty(self) -> None:
        with self.connect() as connection:
            query = "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)"
            found = connection.execute(query, (_SCHEMAS,)).fetchall()
            name = connection.info.dbname
        if found:
            raise InvalidConfiguration(
                f"the database {name} has a catalogue; a backup is restored into an empty one.",
                remedy="Make an empty database and let GEO_ASSETS_DATABASE_URL name it; the embedded one goes with "
                "`geo-assets db destroy`.",
            )

    def _replay(self, file: Path) -> None:
        """Run what the file says by psql, with PgSTAC's schema on the search path.

        pg_restore by itself empties the path, and some functions of PgSTAC, on which columns of its tables stand, find
        PostGIS by it only.
        """
        with tempfile.TemporaryFile() as said:
            script = [_find_program("pg_restore"), "--no-comments", "--file=-", str(file)]
            psql = [_find_program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
            address, environment = self._address()
            with (
                subprocess.Popen(script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as reading,
                subprocess.Popen(
                    [*psql, address],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                ) as writing,
            ):
                assert reading.stdout is not None
                assert writing.stdin is not None
                with suppress(BrokenPipeError):  # psql has ended, and says why
                    _with_search_path(reading.stdout, writing.stdin)
            said.seek(0)
            words = said.read()
            for program, process in (("psql", writing), ("pg_restore", reading)):
                _check(program, process.returncode, words)

    def _address(self) -> tuple[str, dict[str, str]]:
        """The database as an option of PostgreSQL's programs, and their environment: only there is the password."""
        parts = conninfo_to_dict(self.resolved_url())
        environment = dict(os.environ)
        if (password := parts.pop("password", None)) is not None:
            environment["PGPASSWORD"] = str(password)
        return f"--dbname={make_conninfo('', **parts)}", environment


def _with_search_path(script: IO[bytes], into: IO[bytes]) -> None:
    with into:
        into.write(script.read(_PREAMBLE_BYTES).replace(_EMPTY_PATH, _SEARCH_PATH, 1))
        shutil.copyfileobj(script, into)
    script.close()


def _run(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    command = [_find_program(program), *arguments]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    _check(program, done.returncode, done.stderr)


def _check(program: str, status: int, said: bytes) -> None:
    if status:
        lines = said.decode(errors="replace").strip().splitlines()[:_SAID_AT_MOST]
        raise DatabaseUnavailable(
            f"{program} ended with status {status}: {' '.join(lines)}",
            remedy="Mend what it names: the file, the address, or a client older than the server.",
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
