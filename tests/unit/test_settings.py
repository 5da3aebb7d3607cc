"""The environment of one process, as settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from geo_assets.settings import Settings, project_folder
from tests.services import PROJECT


def test_an_empty_environment_has_a_setting_for_all_that_is_needed() -> None:
    settings = Settings()
    assert settings.state_folder == PROJECT / ".geo_assets"
    assert settings.sources_file == PROJECT / "sources.yaml"
    assert (settings.database_url, settings.dagster_database_url) == (None, None)
    assert not settings.azure_anonymous


def test_the_project_is_the_folder_of_dagster_yaml() -> None:
    assert project_folder() == PROJECT


def test_a_variable_that_is_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings()
    for field in Settings.model_fields.values():
        monkeypatch.setenv(str(field.alias), "")
    assert Settings() == before


def test_paths_are_absolute_from_the_current_folder_or_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GEO_ASSETS_STATE", "state")
    monkeypatch.setenv("GEO_ASSETS_SOURCES", "~/my.yaml")
    assert Settings().state_folder == tmp_path / "state"
    assert Settings().sources_file == tmp_path / "home" / "my.yaml"


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("AZURE_STORAGE_ACCOUNT=of_the_file\nGEO_ASSETS_READ_CONCURRENCY=4\nOTHER_PROGRAM=1\n")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "of_the_environment")
    settings = Settings(_env_file=file)
    assert (settings.azure_account, settings.read_concurrency) == ("of_the_environment", 4)


@pytest.mark.parametrize("number", ["0", "257", "many"])
def test_a_read_concurrency_out_of_bounds_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv("GEO_ASSETS_READ_CONCURRENCY", number)
    with pytest.raises(ValidationError, match="GEO_ASSETS_READ_CONCURRENCY"):
        Settings()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "GEO_ASSETS_DATABASE_URL": "postgresql://me:hush1@db/c",
        "DAGSTER_POSTGRES_URL": "postgresql://me:hush2@db/c",
        "AZURE_STORAGE_CONNECTION_STRING": "AccountKey=hush3",
        "AZURE_STORAGE_KEY": "hush4",
        "AZURE_STORAGE_SAS_TOKEN": "sig=hush5",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    shown = f"{Settings()!r} {Settings()} {Settings().model_dump()}"
    assert "hush" not in shown
