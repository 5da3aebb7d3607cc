"""The names of advisory locks: no two are alike, and nothing takes one by another way."""

import re
from pathlib import Path

import geo_assets
from geo_assets.postgres import locks
from geo_assets.postgres.locks import Lock, lock_key

PACKAGE = Path(geo_assets.__file__).parent
KEY_OF_RUN = 1434533434535944860


def test_no_two_locks_are_alike_of_one_subject() -> None:
    assert len(Lock.__members__) == len(set(Lock))
    assert len({lock_key(lock, "rasters") for lock in Lock}) == len(Lock)


def test_no_two_subjects_of_a_lock_are_alike_where_their_words_run_together() -> None:
    subjects = [("a", "bc"), ("ab", "c"), ("abc",), ("abc", "")]
    assert len({lock_key(Lock.SILVER_FILE, *each) for each in subjects}) == len(subjects)


def test_a_key_is_the_same_in_every_process_and_release() -> None:
    assert lock_key(Lock.WORK, "run") == KEY_OF_RUN
    assert -(2**63) <= KEY_OF_RUN < 2**63


def test_no_other_module_or_statement_takes_an_advisory_lock() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".sql"}]
    taking = {path for path in files if re.search(r"pg_(try_)?advisory_", path.read_text())}
    assert taking == {Path(locks.__file__)}


def test_each_lock_is_used_by_someone() -> None:
    text = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if path != Path(locks.__file__))
    assert [lock.name for lock in Lock if f"Lock.{lock.name}" not in text] == []
