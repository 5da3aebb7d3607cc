"""The settings of a server that stays up while `.env` changes: sensors and runs read it each time they start.

Here: which settings count from the moment they are written, and which of the others wait for a restart. Not here: what
each setting means (`geo_assets.settings`).
"""

import threading

from pydantic import ValidationError

from geo_assets.settings import Settings

READ_AGAIN = (
    "azure_connection_string",
    "azure_account_url",
    "azure_account",
    "azure_key",
    "azure_sas_token",
    "azure_anonymous",
    "azure_queue_url",
    "service_bus_connection_string",
    "service_bus_namespace",
    "silver",
    "scratch",
)
"""Settings by which files and queues are reached: nothing is kept open with them."""


class CurrentSettings:
    """The settings that a server started with, and what `.env` has changed of them since."""

    def __init__(self, started: Settings) -> None:
        self._started = started
        self._lock = threading.Lock()
        self._version = _version()
        self._problem: str | None = None
        try:
            self._first: Settings | None = Settings()
        except ValidationError as error:
            self._first, self._problem = None, _in_words(error)
        self._changed: dict[str, object] = {}

    def now(self) -> Settings:
        """The settings as they count now. What `.env` says that is not valid does not."""
        changed = {name: value for name, value in self._read().items() if name in READ_AGAIN}
        return self._started.model_copy(update=changed) if changed else self._started

    def awaiting_restart(self) -> list[str]:
        """The variables that have changed since the start and count after a restart only."""
        return sorted(_variable(name) for name in self._read() if name not in READ_AGAIN)

    def problem(self) -> str | None:
        """Why the present `.env` does not count, with the variables' names but not their values; None if it does."""
        self._read()
        return self._problem

    def _read(self) -> dict[str, object]:
        """What is changed, read again if the file is another."""
        with self._lock:
            version = _version()
            if version != self._version:
                self._version = version
                try:
                    found = Settings()
                except ValidationError as error:
                    self._problem = _in_words(error)
                else:
                    self._problem = None
                    self._first = self._first or found
                    self._changed = {name: value for name, value in found if getattr(self._first, name) != value}
            return self._changed


def _version() -> tuple[int, int] | None:
    """What tells one version of `.env` from the next; None where there is none."""
    try:
        found = Settings.env_file().stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _variable(name: str) -> str:
    return Settings.model_fields[name].alias or name


def _in_words(error: ValidationError) -> str:
    """The errors without what was given, which may be a secret."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    )
