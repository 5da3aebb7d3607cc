"""Settings from the environment and `.env`: every variable geo_assets reads, and nothing else.

Read when asked for, never at import, so that the definitions load with an empty environment.
Each name here stands in `.env.example`.
"""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PACKAGE_FOLDER = Path(__file__).resolve().parent


def project_folder() -> Path:
    """The checkout that holds `dagster.yaml`; the current folder where the package is installed alone."""
    parent = PACKAGE_FOLDER.parent
    return parent if (parent / "dagster.yaml").exists() else Path.cwd()


class Settings(BaseSettings):
    """The environment of one process."""

    model_config = SettingsConfigDict(
        env_file=project_folder() / ".env", extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    state_folder: Path = Field(default_factory=lambda: project_folder() / ".geo_assets", alias="GEO_ASSETS_STATE")
    sources_file: Path = Field(default_factory=lambda: project_folder() / "sources.yaml", alias="GEO_ASSETS_SOURCES")
    database_url: SecretStr | None = Field(default=None, alias="GEO_ASSETS_DATABASE_URL")
    dagster_database_url: SecretStr | None = Field(default=None, alias="DAGSTER_POSTGRES_URL")
    read_concurrency: int = Field(default=16, ge=1, le=256, alias="GEO_ASSETS_READ_CONCURRENCY")

    azure_connection_string: SecretStr | None = Field(default=None, alias="AZURE_STORAGE_CONNECTION_STRING")
    azure_account_url: str | None = Field(default=None, alias="AZURE_STORAGE_ACCOUNT_URL")
    azure_account: str | None = Field(default=None, alias="AZURE_STORAGE_ACCOUNT")
    azure_key: SecretStr | None = Field(default=None, alias="AZURE_STORAGE_KEY")
    azure_sas_token: SecretStr | None = Field(default=None, alias="AZURE_STORAGE_SAS_TOKEN")
    azure_anonymous: bool = Field(default=False, alias="AZURE_STORAGE_ANONYMOUS")

    @model_validator(mode="after")
    def _absolute_paths(self) -> Self:
        self.state_folder = self.state_folder.expanduser().absolute()
        self.sources_file = self.sources_file.expanduser().absolute()
        return self
