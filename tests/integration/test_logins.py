"""Each part of the API as whoever gets a statement of their own past its filters: by the part's real login and pool.

Here: what no login of the API may do, and that no request finds what another left in a session. Not here: the filters.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
from fastapi import FastAPI

from geo_assets.api.catalogue import stac_connections
from geo_assets.api.features import features_connections
from geo_assets.api.rasters import raster_connections
from geo_assets.postgres.databases import api_url
from geo_assets.postgres.logins import (
    API_LOGINS,
    FEATURES_LOGIN,
    JOBS_LOGIN,
    LOGINS,
    PIPELINE_LOGIN,
    STAC_LOGIN,
    TILES_LOGIN,
    TRANSACTIONS_LOGIN,
)
from geo_assets.settings import Settings
from tests.api_server import settings_of
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.vectors import write_shapefile

pytestmark = pytest.mark.attack

Attack = Callable[[str, str], None]
VECTORS = "vectors"
REFUSED = psycopg.errors.InsufficientPrivilege
UNBOUND = (
    "SELECT set_config('default_transaction_read_only', 'off', false), set_config('statement_timeout', '0', false), "
    "set_config('search_path', 'pgstac, public', false)"
)
ITEM = f"SELECT pgstac.get_item(id, collection) AS content FROM pgstac.items WHERE collection = '{SOURCE}' LIMIT 1"
# What changes data; each login may do a few of them, as its part needs.
WRITES = {
    "items": f"DELETE FROM pgstac.items WHERE collection = '{SOURCE}'",
    "delete_item": f"SELECT pgstac.delete_item(id, collection) FROM pgstac.items WHERE collection = '{SOURCE}'",
    "by xml": "SELECT query_to_xml('select pgstac.delete_item(id, collection) from pgstac.items', true, false, '')",
    "upsert": f'SELECT pgstac.upsert_item(content || \'{{"id": "new"}}\') FROM ({ITEM}) AS item',
    "collection": f"UPDATE pgstac.collections SET content = content || '{{\"title\": \"x\"}}' WHERE id = '{SOURCE}'",
    "delete_collection": f"SELECT pgstac.delete_collection('{SOURCE}')",
    "cache of items": "INSERT INTO pgstac.format_item_cache (id, collection, fields, hydrated, output) "
    "VALUES ('a', 'b', '', true, '{}')",
    "searches": "UPDATE pgstac.searches SET metadata = '{}'",
    "settings": "UPDATE pgstac.pgstac_settings SET value = 'on'",
    "queue": "INSERT INTO pgstac.query_queue (query) VALUES ('DROP TABLE ledger.blob')",
    "function": "CREATE FUNCTION pgstac.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "truncate": "TRUNCATE pgstac.items_staging",
    "ledger": "UPDATE ledger.blob SET deleted_at = now()",
    "claims": "DELETE FROM ledger.item",
    "source": "DELETE FROM ledger.source",
    "writes": "DELETE FROM ledger.api_write",
    "migrations": "UPDATE ledger.alembic_version SET version_num = '0001'",
    "table": "UPDATE vectors.places SET geom = NULL",
    "drop": "DROP TABLE vectors.places",
    "schema": "CREATE SCHEMA mine",
    "public": "CREATE TABLE public.mine ()",
    "large object": "SELECT lo_from_bytea(0, 'x')",
    "login": "ALTER ROLE geo_assets_stac SUPERUSER",
    "password": "ALTER ROLE geo_assets_pipeline PASSWORD 'x'",
}
FILES = (
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('PG_VERSION')",
    "SELECT set_config(pg_read_file('/etc/passwd', 0, 60), 'x', false)",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/geo_assets_written_by_a_test')",
    "CREATE TEMP TABLE t (line text); COPY t FROM '/etc/passwd'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT rolpassword FROM pg_authid",
)
READS = {
    "ledger": "SELECT FROM ledger.blob",
    "who wrote": "SELECT FROM ledger.api_write",
    "catalogue": "SELECT FROM pgstac.items",
    "table": "SELECT FROM vectors.places",
}
MAY_READ = {
    FEATURES_LOGIN: {"table"},
    TILES_LOGIN: {"catalogue"},
    STAC_LOGIN: {"catalogue"},
    TRANSACTIONS_LOGIN: {"catalogue"},
    JOBS_LOGIN: {"catalogue", "ledger", "who wrote"},
}


@pytest.fixture(scope="module")
def world(module_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A catalogue with an item and a table of a source each."""
    folder = tmp_path_factory.mktemp("world")
    write_raster(folder / "container" / "a.tif")
    module_pipeline.declare((folder / "container").as_uri())
    assert module_pipeline.run().success
    write_shapefile(folder / "layers" / "places.shp")
    module_pipeline.declare((folder / "layers").as_uri(), name=VECTORS, tables={})
    assert module_pipeline.run("load_vectors", source=VECTORS).success
    return module_pipeline


@pytest.fixture(scope="module")
def settings(world: Pipeline) -> Settings:
    """The settings of an API on that catalogue."""
    return settings_of(world.database_url, world.sources_path)


@pytest.fixture
def attack(settings: Settings) -> Attack:
    """Runs a statement as a login, in a session that has first undone all that it may undo; nothing is kept."""

    def run(login: str, statement: str) -> None:
        with psycopg.connect(api_url(settings, login)) as connection:
            connection.execute(UNBOUND)
            connection.commit()
            connection.execute(statement.encode())
            connection.rollback()

    return run


@pytest.mark.parametrize("login", LOGINS)
def test_a_login_can_become_no_other(world: Pipeline, attack: Attack, settings: Settings, login: str) -> None:
    roles = {name for (name,) in world.query("SELECT rolname FROM pg_roles")} - {login}
    own = {"geo_assets_loader", "pgstac_ingest", "pgstac_read"} if login == PIPELINE_LOGIN else set()
    url = world.database_url if login == PIPELINE_LOGIN else api_url(settings, login)
    with psycopg.connect(url, autocommit=True) as connection:
        for role in sorted(roles - own):
            for statement in ("SET ROLE {}", "SET SESSION AUTHORIZATION {}", "SELECT set_config('role', '{}', false)"):
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
                    connection.execute(statement.format(role).encode())
        connection.execute("SELECT set_config('role', 'none', false)")
        assert connection.execute("SELECT current_user::text, session_user::text").fetchone() == (login, login)


@pytest.mark.parametrize("login", API_LOGINS)
@pytest.mark.parametrize("statement", FILES)
def test_a_login_reads_and_writes_no_file_of_the_server(attack: Attack, login: str, statement: str) -> None:
    with pytest.raises(REFUSED):
        attack(login, statement)


@pytest.mark.parametrize("login", API_LOGINS)
@pytest.mark.parametrize("what", WRITES)
def test_a_login_changes_nothing_of_what_is_there(world: Pipeline, attack: Attack, login: str, what: str) -> None:
    with pytest.raises(REFUSED):
        attack(login, WRITES[what])


@pytest.mark.parametrize("login", API_LOGINS)
def test_a_login_reads_what_its_part_shows_and_no_more(attack: Attack, login: str) -> None:
    for what, statement in READS.items():
        if what in MAY_READ[login]:
            attack(login, statement)
            continue
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            attack(login, statement)


def test_the_login_of_transactions_writes_into_collections_of_no_source(world: Pipeline, attack: Attack) -> None:
    own = '{"id": "own", "type": "Collection", "extent": {"temporal": {"interval": [["2020-01-01T00:00:00Z", null]]}}}'
    make = f"SELECT pgstac.create_collection('{own}')"
    copy = f'SELECT pgstac.create_item(content || \'{{"collection": "own"}}\') FROM ({ITEM}) AS item'
    attack(TRANSACTIONS_LOGIN, f"{make}; {copy}; SELECT pgstac.delete_collection('own')")
    moved = f"UPDATE pgstac.items SET collection = 'own' WHERE collection = '{SOURCE}'"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attack(TRANSACTIONS_LOGIN, f"{make}; {moved}")


def test_runs_are_no_superuser_and_own_their_tables(world: Pipeline) -> None:
    with psycopg.connect(world.database_url) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        )
        assert row.fetchone() == (False, False, False)
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE schemaname = 'vectors'").fetchone()
        assert owner == (PIPELINE_LOGIN,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT pg_read_file('/etc/passwd')")


POISON = (
    "SELECT set_config('default_transaction_read_only', 'off', false)",
    "SELECT set_config('statement_timeout', '1234567', false)",
    "SELECT set_config('search_path', 'pg_temp', false)",
    "SELECT set_config('role', session_user, false)",
    "SELECT set_config('pgstac.readonly', 'false', false)",
    "SELECT set_config('my.secret', 'of another request', false)",
    "SELECT pg_advisory_lock(4711)",
    "LISTEN mine",
    "CREATE TEMP TABLE items (id text)",
    "PREPARE mine AS SELECT 1",
    "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
)
# What of a session another request would notice.
SEEN = """
SELECT
    pg_backend_pid() AS pid,
    current_user::text, current_setting('role') AS role,
    current_setting('default_transaction_read_only') AS read_only, current_setting('statement_timeout') AS timeout,
    current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('lock_timeout') AS lock,
    current_setting('search_path') AS path, coalesce(current_setting('pgstac.readonly', true), '') AS frozen,
    coalesce(current_setting('my.secret', true), '') AS secret,
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
    (SELECT count(*) FROM pg_listening_channels()) AS channels,
    (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS tables,
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) AS prepared,
    (SELECT count(*) FROM pg_cursors WHERE name = 'mine') AS cursors
"""


@asynccontextmanager
async def _asyncpg(pool: Any) -> AsyncIterator[Callable[[str], Any]]:
    async with pool.acquire() as connection:

        async def ask(statement: str) -> dict[str, Any] | None:
            if not statement.lstrip().startswith("SELECT"):
                await connection.execute(statement)
                return None
            row = await connection.fetchrow(statement)
            return dict(row)

        yield ask


@asynccontextmanager
async def _psycopg(pool: Any) -> AsyncIterator[Callable[[str], Any]]:
    with pool.connection() as connection:

        async def ask(statement: str) -> dict[str, Any] | None:
            found = connection.execute(statement)
            if not found.description:
                return None
            return dict(zip([column.name for column in found.description], found.fetchone(), strict=True))

        yield ask


Borrow = Callable[[], AbstractAsyncContextManager[Callable[[str], Any]]]


@asynccontextmanager
async def _pool(name: str, settings: Settings) -> AsyncIterator[Borrow]:
    """Borrows a connection of the real pool of this part."""
    app = FastAPI()
    if name == "features":
        async with features_connections(app, settings):
            yield lambda: _asyncpg(app.state.pool)
    elif name == "tiles":
        async with raster_connections(app, settings):
            yield lambda: _psycopg(app.state.dbpool)
    else:
        async with stac_connections(app, settings):
            yield lambda: _asyncpg(app.state.readpool if name == "stac" else app.state.writepool)


@pytest.mark.parametrize("name", ["features", "tiles", "stac", "transactions"])
def test_the_next_request_finds_nothing_of_a_poisoned_session(settings: Settings, name: str) -> None:
    async def seen() -> None:
        async with _pool(name, settings) as borrow:
            async with borrow() as ask:
                before = await ask(SEEN)
            for poison in POISON:
                try:
                    async with borrow() as ask:
                        await ask(poison)
                        assert name == "tiles" or (await ask("SELECT pg_backend_pid() AS pid"))["pid"] > 0
                except (asyncpg.PostgresError, psycopg.Error):
                    pass  # refused, or found when it goes back: then the connection is closed
                async with borrow() as ask:
                    after = await ask(SEEN)
                assert {**after, "pid": 0} == {**before, "pid": 0}, poison

    asyncio.run(seen())


@pytest.mark.parametrize("name", ["features", "stac"])
def test_a_session_that_reads_is_read_only_and_a_connection_is_kept(settings: Settings, name: str) -> None:
    async def seen() -> tuple[dict[str, Any], dict[str, Any]]:
        async with _pool(name, settings) as borrow:
            async with borrow() as ask:
                first = await ask(SEEN)
            async with borrow() as ask:
                return first, await ask(SEEN)

    first, second = asyncio.run(seen())
    assert first == second, "the reset does not cost a connection"
    assert (first["read_only"], first["timeout"], first["idle"], first["lock"]) == ("on", "30s", "1min", "15s")
