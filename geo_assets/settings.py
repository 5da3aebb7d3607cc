"""Settings from the environment and `.env`: every variable geo_assets reads, and nothing else.

Read when asked for, never at import, so that the definitions load with an empty environment.
`.env.example` has each name.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PACKAGE_FOLDER = Path(__file__).resolve().parent


def project_folder() -> Path:
    """The checkout that holds `dagster.yaml`; the current folder where the package is installed alone."""
    parent = PACKAGE_FOLDER.parent
    return parent if (parent / "dagster.yaml").exists() else Path.cwd()


class Settings(BaseSettings):
    """The environment of one process."""

    model_config = SettingsConfigDict(
        env_file=project_folder() / ".env",
        extra="ignore",
        env_ignore_empty=True,
        populate_by_name=True,
        frozen=True,
        validate_default=True,
    )

    state_folder: Path = Field(default_factory=lambda: project_folder() / ".geo_assets", alias="GEO_ASSETS_STATE")
    sources_file: Path = Field(default_factory=lambda: project_folder() / "sources.yaml", alias="GEO_ASSETS_SOURCES")
    scratch: Path | None = Field(default=None, alias="GEO_ASSETS_SCRATCH")
    silver: str | None = Field(default=None, alias="GEO_ASSETS_SILVER")
    database_url: SecretStr | None = Field(default=None, alias="GEO_ASSETS_DATABASE_URL")
    owner_database_url: SecretStr | None = Field(default=None, alias="GEO_ASSETS_OWNER_DATABASE_URL")
    api_database_url: SecretStr | None = Field(default=None, alias="GEO_ASSETS_API_DATABASE_URL")
    dagster_database_url: SecretStr | None = Field(default=None, alias="DAGSTER_POSTGRES_URL")
    celery_broker: SecretStr | None = Field(default=None, alias="GEO_ASSETS_CELERY_BROKER")
    celery_backend: SecretStr | None = Field(default=None, alias="GEO_ASSETS_CELERY_BACKEND")
    workers: int = Field(default_factory=lambda: min(8, os.cpu_count() or 1), ge=1, alias="GEO_ASSETS_WORKERS")
    worker_seconds: float = Field(default=60.0, gt=0, alias="GEO_ASSETS_WORKER_SECONDS")
    worker_memory_mb: int = Field(default=2048, ge=256, alias="GEO_ASSETS_WORKER_MEMORY_MB")
    vector_seconds: float = Field(default=900.0, gt=0, alias="GEO_ASSETS_VECTOR_SECONDS")
    cog_seconds: float = Field(default=6 * 3600.0, gt=0, alias="GEO_ASSETS_COG_SECONDS")
    cog_memory_mb: int = Field(default=1024, ge=512, alias="GEO_ASSETS_COG_MEMORY_MB")
    read_concurrency: int = Field(default=64, ge=1, le=256, alias="GEO_ASSETS_READ_CONCURRENCY")

    schemas_folder: Path | None = Field(default=None, alias="GEO_ASSETS_SCHEMAS")

    azure_connection_string: SecretStr | None = Field(default=None, alias="AZURE_STORAGE_CONNECTION_STRING")
    azure_account_url: str | None = Field(default=None, alias="AZURE_STORAGE_ACCOUNT_URL")
    azure_account: str | None = Field(default=None, alias="AZURE_STORAGE_ACCOUNT")
    azure_key: SecretStr | None = Field(default=None, alias="AZURE_STORAGE_KEY")
    azure_sas_token: SecretStr | None = Field(default=None, alias="AZURE_STORAGE_SAS_TOKEN")
    azure_anonymous: bool = Field(default=False, alias="AZURE_STORAGE_ANONYMOUS")
    azure_queue_url: str | None = Field(default=None, alias="AZURE_STORAGE_QUEUE_URL")
    service_bus_connection_string: SecretStr | None = Field(default=None, alias="AZURE_SERVICEBUS_CONNECTION_STRING")
    service_bus_namespace: str | None = Field(default=None, alias="AZURE_SERVICEBUS_NAMESPACE")

    alert_webhooks: SecretStr | None = Field(default=None, alias="GEO_ASSETS_ALERT_WEBHOOKS")
    alert_email: str | None = Field(default=None, alias="GEO_ASSETS_ALERT_EMAIL")
    alert_sender: str = Field(default="geo_assets@localhost", alias="GEO_ASSETS_ALERT_SENDER")
    smtp_host: str = Field(default="localhost", alias="GEO_ASSETS_SMTP_HOST")
    smtp_port: int = Field(default=587, ge=1, le=65535, alias="GEO_ASSETS_SMTP_PORT")
    smtp_user: str | None = Field(default=None, alias="GEO_ASSETS_SMTP_USER")
    smtp_password: SecretStr | None = Field(default=None, alias="GEO_ASSETS_SMTP_PASSWORD")
    smtp_security: Literal["starttls", "tls", "none"] = Field(default="starttls", alias="GEO_ASSETS_SMTP_SECURITY")
    dagster_url: str | None = Field(default=None, alias="GEO_ASSETS_DAGSTER_URL")
    dagster_server: str = Field(default="http://127.0.0.1:3000", alias="GEO_ASSETS_DAGSTER_SERVER")

    api_keys: SecretStr | None = Field(default=None, alias="GEO_ASSETS_API_KEYS")
    api_oidc_issuer: str | None = Field(default=None, alias="GEO_ASSETS_API_OIDC_ISSUER")
    api_oidc_audience: str | None = Field(default=None, alias="GEO_ASSETS_API_OIDC_AUDIENCE")
    api_hosts: str | None = Field(default=None, alias="GEO_ASSETS_API_HOSTS")
    api_redeploy: bool = Field(default=False, alias="GEO_ASSETS_API_REDEPLOY")
    api_requests_a_minute: int = Field(default=6000, ge=1, alias="GEO_ASSETS_API_REQUESTS_A_MINUTE")
    api_traces: str | None = Field(default=None, alias="GEO_ASSETS_API_TRACES")
    api_body_mb: float = Field(default=16.0, gt=0, alias="GEO_ASSETS_API_BODY_MB")

    @classmethod
    def env_file(cls) -> Path:
        """The file that is read besides the environment."""
        return Path(str(cls.model_config["env_file"]))

    @property
    def scratch_folder(self) -> Path:
        """Where work under way has its files."""
        return self.scratch or self.state_folder / "scratch"

    @field_validator("state_folder", "sources_file", "schemas_folder", "scratch", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()
