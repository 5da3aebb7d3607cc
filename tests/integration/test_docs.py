"""The documentation: that its site builds without a broken link, names every page, and says what the code says."""

import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Request, sync_playwright

import geo_assets
from benchmarks.pages import BLOCKS, read_figures
from benchmarks.report import figure_text, replace_between_markers
from geo_assets.api.telemetry import Metrics
from geo_assets.cli.main import SUBCOMMANDS
from geo_assets.errors import GeoAssetsError
from geo_assets.ledger.blobs import SourceStatus
from geo_assets.ledger.events import StandingPoison
from geo_assets.settings import Settings
from scripts.reference_pages import PAGES, error_classes, write_pages
from tests.services import PROJECT

DOCS = PROJECT / "docs"
# Loaded by alembic and by Celery's workers alone, which bring what these need at import.
ENTRY_POINTS = ("geo_assets.migrations", "geo_assets.celery.app", "geo_assets.celery.definitions")
CODE = re.MULTILINE | re.DOTALL
VARIABLES_OF_TESTS = {"GEO_ASSETS_SAMPLES"}
ABSTRACT = {"error", "permanent", "transient"}


class _Loader(yaml.SafeLoader):
    """YAML whose tags for Python objects are passed over."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def config() -> dict[str, Any]:
    document: dict[str, Any] = yaml.load((PROJECT / "mkdocs.yml").read_text("utf-8"), _Loader)
    return document


def pages_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from pages_of(entry)


# Not with --quiet: it drops the warnings that --strict counts.
def build(checkout: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    built = build(PROJECT, folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_each_test_that_the_threat_model_names_is_there() -> None:
    page = (DOCS / "operate" / "security.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", page)
    there = {
        (path.name, name)
        for path in (PROJECT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert len(named) > 50
    assert set(named) - there == set()
    tables = [line for line in page.partition("## What an uploader sends")[2].splitlines() if line.startswith("| ")]
    claims = [line for line in tables if not line.endswith(" test |")]
    assert [line for line in claims if "::test_" not in line] == [], "each claim names its test"


def test_the_nav_names_every_page_once() -> None:
    named = list(pages_of(config()["nav"]))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert there - set(named) == set(), "add these pages to nav in mkdocs.yml"
    assert set(named) - there == set(), "nav in mkdocs.yml names pages that are not there"
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_reference_is_what_the_code_makes_of_it(name: str, tmp_path: Path) -> None:
    write_pages(tmp_path)
    made = (tmp_path / name).read_text("utf-8")
    assert (DOCS / "reference" / name).read_text("utf-8") == made, "run make docs, and commit what it made"


def test_every_setting_and_every_error_code_stands_in_the_reference() -> None:
    settings = (DOCS / "reference/settings.md").read_text("utf-8")
    assert [name for field in Settings.model_fields.values() if f"`{(name := field.alias)}`" not in settings] == []
    for module in pkgutil.walk_packages(geo_assets.__path__, "geo_assets."):
        if not module.name.startswith(ENTRY_POINTS):
            importlib.import_module(module.name)
    codes = set(re.findall(r'<a id="(\w+)"', (DOCS / "reference/errors.md").read_text("utf-8")))
    assert {kind.code for kind in every_error(GeoAssetsError)} - ABSTRACT == codes
    assert {kind.code for kind in error_classes()} == codes


def every_error(of: type[GeoAssetsError]) -> Iterator[type[GeoAssetsError]]:
    for child in of.__subclasses__():
        if child.__module__.startswith("geo_assets."):
            yield child
            yield from every_error(child)


class NothingKnown:
    """A ledger without sources, of which the names of metrics are told all the same."""

    def statuses(self) -> list[SourceStatus]:
        """No source."""
        return []

    def listed_at(self) -> dict[str, datetime | None]:
        """No source."""
        return {}

    def poison(self) -> list[StandingPoison]:
        """No message."""
        return []


def test_each_key_of_sources_yaml_says_what_it_means() -> None:
    rows = re.findall(r"^\| `[\w.]+` \|.*\|$", (DOCS / "reference/sources.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 100
    assert [row for row in rows if not row.split(" | ")[-1].strip(" |")] == []


def test_what_pages_name_is_there() -> None:
    """Commands, targets of make, variables, metrics: each that a page names in its code."""
    pages = [PROJECT / "README.md", *DOCS.rglob("*.md")]
    code = "\n".join(re.findall(r"^ *```.*?^ *```|`[^`]+`", "\n".join(page.read_text("utf-8") for page in pages), CODE))
    targets = re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE)
    variables = {str(field.alias) for field in Settings.model_fields.values()} | VARIABLES_OF_TESTS
    metrics = Metrics(NothingKnown()).exposition().decode()
    assert set(re.findall(r"(?:^|[`/]|(?<!-n) )geo-assets ([a-z]+)", code, re.MULTILINE)) - set(SUBCOMMANDS) == set()
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", code, re.MULTILINE)) - set(targets) == set()
    assert set(re.findall(r"\b(?:GEO_ASSETS|AZURE_STORAGE|AZURE_SERVICEBUS)_[A-Z_]*[A-Z]\b", code)) - variables == set()
    runbook = (DOCS / "runbook.md").read_text("utf-8")
    assert [name for name in re.findall(r"^\| `(geo_assets_\w+)", runbook, re.MULTILINE) if name not in metrics] == []


@pytest.mark.parametrize("page", BLOCKS, ids=lambda page: page.name)
def test_figures_of_pages_are_those_of_results_json(page: Path) -> None:
    text = page.read_text("utf-8")
    made = replace_between_markers(text, BLOCKS[page](read_figures()))
    assert text == made, "run python -m benchmarks.pages, and commit what it made"


def test_the_table_of_benchmarks_has_the_figures_of_results_json() -> None:
    page = (DOCS / "benchmarks.md").read_text("utf-8").partition("<!-- benchmarks: begin -->")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    shown = {row[0]: (row[1], row[4], row[5]) for row in rows if len(row) == 7 and row[0].isidentifier()}
    shown.pop("figure")
    figures = read_figures()
    assert shown == {
        name: tuple(figure_text(figure[side]) for side in ("value", "ours", "peer")) for name, figure in figures.items()
    }


def test_the_page_on_monitoring_lists_every_metric() -> None:
    metrics = set(re.findall(r"^# TYPE (geo_assets_\w+)", Metrics(NothingKnown()).exposition().decode(), re.MULTILINE))
    metrics = {name for name in metrics if not name.endswith("_created")}
    page = (DOCS / "operate" / "slo.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(geo_assets_\w+)", page, re.MULTILINE)) == metrics


def test_the_page_on_the_database_lists_every_table_of_the_ledger() -> None:
    made = (PROJECT / "geo_assets" / "migrations" / "schema_objects.txt").read_text("utf-8")
    page = (DOCS / "reference" / "database.md").read_text("utf-8")
    listed = set(re.findall(r"^\|.*?`(ledger\.\w+)`", page, re.MULTILINE)) | set(re.findall(r", `(ledger\.\w+)`", page))
    assert listed == set(re.findall(r"^(?:table|view) (ledger\.\w+)$", made, re.MULTILINE))


def test_the_site_asks_no_other_server_and_draws_its_diagrams(site: Path) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            asked.append(request.url)

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "there is no Chromium: bash scripts/setup.sh --with-azurite installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", note)
        page.goto((site / "how-it-works.html").as_uri())
        # The theme puts a diagram into a closed shadow root, of which only the size is seen.
        page.wait_for_function(
            "[...document.querySelectorAll('div.mermaid')].filter(d => d.offsetHeight > 100).length == 3"
        )
        browser.close()
    assert asked == []


class _Sources(HTMLParser):
    """The addresses a page loads by itself: scripts, pictures, styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        loaded = values.get("href") if tag == "link" else values.get("src")
        if loaded:
            self.found.append(loaded)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        parser = _Sources()
        parser.feed(page.read_text("utf-8"))
        assert [found for found in parser.found if re.match(r"(https?:)?//", found)] == [], page.name


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    broken = {
        "nowhere.md": "[x](nowhere.md)",
        "#no-such-part": "[x](how-it-works.md#no-such-part)",
        "../no_such_file.py": "[x](../no_such_file.py)",
        "/absolute.md": "[x](/absolute.md)",
    }
    checkout = tmp_path / "checkout"
    for name in ("docs", "scripts", "tests", "benchmarks"):
        shutil.copytree(PROJECT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(PROJECT / name, checkout)
    (checkout / "node_modules").symlink_to(PROJECT / "node_modules")
    page = checkout / "docs/index.md"
    page.write_text("\n\n".join([page.read_text("utf-8"), *broken.values()]), "utf-8")
    built = build(checkout, tmp_path / "site")
    assert built.returncode != 0
    warnings = [line for line in (built.stdout + built.stderr).splitlines() if line.startswith("WARNING")]
    assert [target for target in broken if not any(target in line for line in warnings)] == []
    assert len(warnings) == len(broken)
