"""A reason and what to do about it are two columns; before, the remedy followed the message in one text."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the remedies of blobs, of attempts at them and of COGs, and part those that are in the messages."""
    for table in ("blob", "failed_attempt", "cog"):
        op.execute(f"ALTER TABLE ledger.{table} ADD COLUMN error_remedy text")
        op.execute(
            f"UPDATE ledger.{table} SET error_message = split_part(error_message, ' Remedy: ', 1), "
            "error_remedy = substr(error_message, strpos(error_message, ' Remedy: ') + length(' Remedy: ')) "
            "WHERE strpos(error_message, ' Remedy: ') > 0"
        )
