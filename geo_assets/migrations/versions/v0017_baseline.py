"""The ledger as the first release has it, from the files in `migrations/baseline`; views have files of their own.

Its number is that of the last of the seventeen migrations that it replaces, so that a database that they made is taken
for one that it made.
"""

from pathlib import Path

from alembic import op

revision = "0017"
down_revision = None

FOLDER = Path(__file__).resolve().parents[1] / "baseline"
# In this order: later ones refer to tables of earlier ones.
SUBJECTS = ("sources_and_blobs", "items", "listings_and_events", "products", "runs_and_api", "refusal")


def upgrade() -> None:
    """Create the tables, their indexes, and what keeps the API from writing what a source makes."""
    for subject in SUBJECTS:
        script = (FOLDER / f"{subject}.sql").read_text("utf-8")
        op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})
