"""Whose turn a source is: one run at a time works on it, whatever Dagster's instance lets run at once.

Here: asking for the turn of a run, and who has it. Not here: how long a process keeps it
(`geo_assets.resources.database`).

All processes of a run share the source's lock, each by a session of its own that is named after the run, so another run
sees whose turn it is. PostgreSQL releases it when the last of them ends, however it ends.
"""

import time
from datetime import UTC

from geo_assets.errors import SourceBusy
from geo_assets.ledger.database import Connection
from geo_assets.postgres.locks import Lock, holders, holding, take

PATIENCE_SECONDS = 10.0
"""How long a run waits for its turn: a run that was killed releases it within less."""
_PAUSE_SECONDS = 0.5
_NAMED = "geo_assets run "
_SESSION = (
    "SELECT set_config('application_name', %s, false), set_config('tcp_keepalives_idle', '30', false), "
    "set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)"
)
"""Names the session, and has the server miss within a minute a host that went without a word."""


def take_turn(connection: Connection, source: str, *, run_id: str) -> None:
    """Have the run work on the source for as long as ``connection`` is open, beside its other processes.

    Raises SourceBusy where another run still works on it after `PATIENCE_SECONDS`.
    """
    connection.execute(_SESSION, (_NAMED + run_id,))
    over = time.monotonic() + PATIENCE_SECONDS
    while True:
        with holding(connection, Lock.SOURCE_GATE, source):
            others = [each for each in holders(connection, Lock.SOURCE, source) if each.name != _NAMED + run_id]
            if not others:
                take(connection, Lock.SOURCE, source, shared=True)
                return
        if time.monotonic() >= over:
            break
        time.sleep(_PAUSE_SECONDS)
    first = others[0]
    who = f"run {first.name.removeprefix(_NAMED)}" if first.name else "another run"
    since = f" since {first.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if first.since else ""
    raise SourceBusy(f"{who} has been working on source {source}{since}.")
