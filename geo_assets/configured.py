"""Resources of Dagster that go by the settings: which ones, from when, and an Azure account that comes before theirs.

Here: what all resources share. Not here: the settings themselves (`settings`), what each resource opens.
"""

from collections.abc import Mapping
from typing import Any

from dagster import ConfigurableResource, InitResourceContext
from pydantic import Field, PrivateAttr, SecretStr

from geo_assets.settings import Settings


class ConfiguredResource(ConfigurableResource):  # type: ignore[type-arg]
    """A resource that reads the settings once a run, or once a tick: not in the middle of work."""

    _settings: Settings | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        """Have the settings read again by this run or tick: a code server lives longer than an `.env`."""
        self._settings = None

    @property
    def settings(self) -> Settings:
        """The settings as they were when this run, or this process without one, first asked."""
        if self._settings is None:
            self._settings = Settings()
        return self._settings


class AzureResource(ConfiguredResource):
    """A resource that opens an Azure Storage account: its own where it names one, else that of the settings.

    Values show in Dagster's UI: give secrets as `EnvVar`.
    """

    connection_string: str = Field(default="", description="Of the storage account. Or give account_url.")
    account_url: str = Field(
        default="",
        description="URL of the account. Empty, as connection_string: that of the AZURE_STORAGE_* variables.",
    )
    account_key: str = Field(default="", description="Key of the account that account_url names.")
    sas_token: str = Field(default="", description="SAS token for the account that account_url names.")
    anonymous: bool = Field(default=False, description="Read the account that account_url names without a credential.")

    @property
    def settings(self) -> Settings:
        """The settings, with this resource's own account in place of theirs if it names one."""
        settings = super().settings
        own = self._own_account()
        return settings.model_copy(update=own) if own else settings

    def _own_account(self) -> Mapping[str, Any]:
        if not (self.connection_string or self.account_url):
            return {}
        return {
            "azure_connection_string": _secret(self.connection_string),
            "azure_account_url": self.account_url or None,
            "azure_account": None,
            "azure_key": _secret(self.account_key),
            "azure_sas_token": _secret(self.sas_token),
            "azure_anonymous": self.anonymous,
            "azure_queue_url": None,
        }


def _secret(value: str) -> SecretStr | None:
    return SecretStr(value) if value else None
