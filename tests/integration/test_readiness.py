"""/readyz: an API is ready for a database of its own release or a newer one, so that releases can overlap."""

from typing import LiteralString

import psycopg
import pytest

from tests.api_server import served, settings_of
from tests.pipeline import Pipeline


@pytest.mark.parametrize(
    ("change", "is_ready"),
    [
        ("SELECT", True),
        ("UPDATE ledger.alembic_version SET version_num = '0010'", False),
        ("UPDATE ledger.alembic_version SET version_num = '9999'", True),
        ("COMMENT ON SCHEMA ledger IS 'views 0123456789ab'", False),
    ],
    ids=["its own", "an older", "a newer", "other views"],
)
def test_a_release_waits_for_its_migrations_and_works_on_with_later_ones(
    pipeline: Pipeline, change: LiteralString, is_ready: bool
) -> None:
    with psycopg.connect(pipeline.owner_url) as connection:
        connection.execute(change)
    with served(settings_of(pipeline.database_url, pipeline.sources_path)) as client:
        answer = client.get("/readyz")
    assert (answer.status_code == 200) is is_ready, answer.text
    if not is_ready:
        assert answer.status_code == 503
        assert "db migrate" in answer.json()["remedy"]
        assert answer.headers["retry-after"]
