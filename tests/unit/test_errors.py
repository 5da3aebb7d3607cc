"""The exception tree: codes that are stored for ever, and remedies people read."""

import importlib
import pkgutil
import re

import pytest

import geo_assets
from geo_assets import errors
from geo_assets.errors import Corrupt, GeoAssetsError, PermanentError, TransientError

# Stored in ledgers out there: a code may be added here, never changed.
STABLE_CODES = {
    "BlobChanged": "blob_changed",
    "BlobMissing": "blob_missing",
    "Corrupt": "corrupt",
    "DatabaseUnavailable": "database_unavailable",
    "DuplicateItem": "duplicate_item",
    "InvalidConfiguration": "invalid_configuration",
    "InvalidItem": "invalid_item",
    "LoadIncomplete": "load_incomplete",
    "MissingCrs": "missing_crs",
    "MissingDatetime": "missing_datetime",
    "MissingTransform": "missing_transform",
    "NoFootprint": "no_footprint",
    "NotARaster": "not_a_raster",
    "StorageUnavailable": "storage_unavailable",
    "TooLarge": "too_large",
    "Unauthorized": "unauthorized",
    "UnsupportedFormat": "unsupported_format",
}

# Loaded by alembic and by Celery's workers alone, which bring what these need at import.
ENTRY_POINTS = ("geo_assets.migrations", "geo_assets.celery.app", "geo_assets.celery.definitions")


def leaves(of: type[GeoAssetsError]) -> list[type[GeoAssetsError]]:
    """The classes below ``of`` that are raised; what a module keeps to itself has its parent's code."""
    below = [child for child in of.__subclasses__() if not child.__name__.startswith("_")]
    own = [child for child in below if child not in (PermanentError, TransientError)]
    return own + [leaf for child in below for leaf in leaves(child)]


LEAVES = sorted((leaf for leaf in leaves(GeoAssetsError) if leaf.__module__ == errors.__name__), key=str)


def test_no_code_was_ever_changed() -> None:
    assert {leaf.__name__: leaf.code for leaf in LEAVES}.items() >= STABLE_CODES.items()


@pytest.fixture(scope="module")
def everywhere() -> list[type[GeoAssetsError]]:
    """The error classes of the whole package, with the three that are raised as they are by no code."""
    for module in pkgutil.walk_packages(geo_assets.__path__, "geo_assets."):
        if not module.name.startswith(ENTRY_POINTS):
            importlib.import_module(module.name)
    return [GeoAssetsError, PermanentError, TransientError, *leaves(GeoAssetsError)]


def test_each_class_of_the_whole_package_has_a_remedy(everywhere: list[type[GeoAssetsError]]) -> None:
    raised = everywhere[3:]
    assert {"CogInvalid", "MissingShx", "Forbidden", "DagsterNotReady"} <= {error.__name__ for error in raised}
    assert not [error.__name__ for error in raised if not re.fullmatch(r"[A-Z].+\.", error.remedy, re.DOTALL)]


def test_each_class_of_the_whole_package_has_a_code_of_its_own(everywhere: list[type[GeoAssetsError]]) -> None:
    codes = [error.code for error in everywhere]
    assert sorted(codes) == sorted(set(codes))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_each_leaf_is_either_permanent_or_transient_and_has_words(leaf: type[GeoAssetsError]) -> None:
    assert issubclass(leaf, PermanentError) != issubclass(leaf, TransientError)
    assert leaf.__doc__
    assert leaf.remedy


def test_the_tree_of_the_docstring_is_the_tree_of_the_code() -> None:
    drawn: dict[str, list[str]] = {}
    branch = ""
    for line in str(errors.__doc__).splitlines():
        if match := re.match(r"[├└]── (\w+):", line):
            branch = match[1]
        elif match := re.match(r"[│ ]   (?:│   )?[├└]── (\w+) ", line):
            drawn.setdefault(branch, []).append(match[1])
    assert {name: sorted(below) for name, below in drawn.items()} == {
        branch.__name__: sorted(leaf.__name__ for leaf in leaves(branch) if leaf in LEAVES)
        for branch in (PermanentError, TransientError)
    }


def test_an_error_reads_as_code_message_and_remedy() -> None:
    assert str(Corrupt("a.tif ends early.")) == (
        "corrupt: a.tif ends early. Remedy: Upload the file again from its origin."
    )


def test_a_remedy_may_be_said_for_the_case_without_changing_the_class() -> None:
    error = Corrupt("a.tif ends early.", remedy="Ask the agency.")
    assert error.remedy == "Ask the agency."
    assert Corrupt("x").remedy != "Ask the agency."
    assert str(GeoAssetsError("x")) == "error: x"
