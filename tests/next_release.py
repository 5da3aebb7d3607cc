"""A next release, made in a folder: this one with one migration more, which fills a table, and a view that shows it.

Here: making it, and its commands. Not here: what must hold of databases that it migrates.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from geo_assets.ledger.schema import SCHEMA_OBJECTS, VIEWS_FOLDER
from tests.services import PROJECT

VERSION = "0019"
# It pauses where one of millions of rows would be at work.
MIGRATION = f'''"""How long names are."""

from alembic import op

revision = "{VERSION}"
down_revision = "0018"


def upgrade() -> None:
    """Add the lengths, and fill them."""
    op.execute("ALTER TABLE ledger.blob ADD COLUMN name_length integer NOT NULL DEFAULT 0")
    op.execute("UPDATE ledger.blob SET name_length = length(name)")
    op.execute("SELECT pg_sleep(0.5)")
    op.execute("CREATE TABLE ledger.length AS SELECT DISTINCT name_length FROM ledger.blob")
    op.execute("CREATE INDEX length_length ON ledger.length (name_length)")
    op.execute("SELECT pg_sleep(0.5)")
'''
OBJECTS = "index ledger.length.length_length\ntable ledger.length\n"


@dataclass(frozen=True)
class NextRelease:
    """The folder that its package lies in."""

    folder: Path

    @property
    def migrations(self) -> Path:
        """The folder of its migrations."""
        return self._in_package(SCHEMA_OBJECTS).parent

    @property
    def variables(self) -> dict[str, str]:
        """By which a program is of this release."""
        return {"PYTHONPATH": str(self.folder)}

    def make(self) -> None:
        """Copy this release, and add to it."""
        shutil.copytree(
            PROJECT / "geo_assets", self.folder / "geo_assets", ignore=shutil.ignore_patterns("__pycache__")
        )
        (self.migrations / "versions" / f"v{VERSION}_name_length.py").write_text(MIGRATION)
        with self._in_package(SCHEMA_OBJECTS).open("a") as objects:
            objects.write(OBJECTS)
        view = self._in_package(VIEWS_FOLDER / "blob_state.sql")
        view.write_text(with_column(view.read_text(), "b.name_length"))

    def run(self, program: Path, *arguments: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        """One of its commands, to its end."""
        return subprocess.run(
            [program, *arguments], env=env | self.variables, capture_output=True, text=True, check=False, timeout=300
        )

    def _in_package(self, file: Path) -> Path:
        return self.folder / file.relative_to(PROJECT)


def with_column(view: str, column: str) -> str:
    """The file of `blob_state` with one column more, amid the others: the view cannot be replaced, only dropped."""
    assert "    s.collection_id, " in view
    return view.replace("    s.collection_id, ", f"    {column}, s.collection_id, ")
