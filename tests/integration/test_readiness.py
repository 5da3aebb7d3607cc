"""/readyz: an API is ready for a database of its own release or a newer one, so that releases can overlap."""

import psycopg
import pytest

from tests.api_server import served, settings_of
from tests.pipeline import Pipeline


@pytest.mark.parametrize(("version", "is_ready"), [(None, True), ("0010", False), ("9999", True)])
def test_a_release_waits_for_its_migrations_and_works_on_with_later_ones(
    pipeline: Pipeline, version: str | None, is_ready: bool
) -> None:
    if version is not None:
        with psycopg.connect(pipeline.database_url) as connection:
            connection.execute("UPDATE ledger.alembic_version SET version_num = %s", (version,))
    with served(settings_of(pipeline.database_url, pipeline.sources_path)) as client:
        answer = client.get("/readyz")
    assert (answer.status_code == 200) is is_ready, answer.text
    if not is_ready:
        assert answer.status_code == 503
        assert "db migrate" in answer.json()["remedy"]
        assert answer.headers["retry-after"]
