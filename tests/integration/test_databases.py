"""Which database a process talks to, by its settings."""

from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from geo_assets.databases import catalogue_url, dagster_url, databases_running, embedded_postgres, uses_embedded
from geo_assets.embedded import EmbeddedPostgres
from geo_assets.errors import DatabaseUnavailable
from geo_assets.settings import Settings

OWN = "postgresql://me:secret@db.example/catalogue"
OTHER = "postgresql://me:secret@db.example/dagster"


def test_without_urls_both_lie_in_the_embedded_cluster(postgres_cluster: EmbeddedPostgres) -> None:
    settings = Settings(state_folder=postgres_cluster.state_folder)
    assert uses_embedded(settings)
    assert catalogue_url(settings) == postgres_cluster.url("geo_assets")
    assert dagster_url(settings) == postgres_cluster.url("dagster")


def test_a_server_of_the_users_own_holds_both(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path, database_url=SecretStr(OWN))
    assert not uses_embedded(settings)
    assert catalogue_url(settings) == dagster_url(settings) == OWN


def test_dagster_may_have_a_server_of_its_own(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path, database_url=SecretStr(OWN), dagster_database_url=SecretStr(OTHER))
    assert catalogue_url(settings) == OWN
    assert dagster_url(settings) == OTHER


def test_a_cluster_that_does_not_run_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="geo-assets db start"):
        catalogue_url(Settings(state_folder=tmp_path))


def test_the_databases_are_there_inside_the_block_and_stopped_after_it(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path / "state")
    try:
        with databases_running(settings):
            for url in (catalogue_url(settings), dagster_url(settings)):
                psycopg.connect(url).close()
        assert not embedded_postgres(settings).is_running()
    finally:
        embedded_postgres(settings).destroy()


def test_a_server_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    with databases_running(Settings(state_folder=tmp_path / "state", database_url=SecretStr(OWN))):
        assert not (tmp_path / "state").exists()
