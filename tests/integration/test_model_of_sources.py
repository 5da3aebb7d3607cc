"""Any sequence of changes to files and to sources.yaml: the census is exact after each run, and no item is false.

Here: a folder, real runs, PostgreSQL with PgSTAC, and what a few lines of Python say should be there. Not here: events
and kills (`tests.faults.test_model_of_all`).
"""

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from geo_assets.catalogue.census import WRONG
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.storage.listing import build_matcher
from tests.pipeline import Pipeline, failure_text
from tests.rasters import raster_bytes

FILES = ["a.tif", "b.tif", "c.tif", "x/a.tif", "x/c.tif", "x/d.tif"]
NAMES = st.sampled_from(FILES)
VALUES = st.integers(1, 3)
KEYS = ("one", "two", "three")
RULES: dict[str, list[Any]] = {
    "include": [["**/*.tif"], ["*.tif"], ["x/**", "a.tif"]],
    "collection": ["first", "second"],
    "item_id": ["{slug}", "{stem}", "new-{slug}"],
    "deletions": [{}, {"grace": "1 day"}, {"max_share": 0, "min_count": 0}],
    "gsd": [10, 20],
}
EXAMPLES, MOMENTS = count(1), count(1_700_000_000)
BAD = b"no raster"


class Sources(RuleBasedStateMachine):
    """A folder, whose source is renamed, removed, declared again and ruled otherwise, beside a source that stays."""

    def __init__(self, pipeline: Pipeline, base: Path) -> None:
        super().__init__()
        self.pipeline, self.example = pipeline, next(EXAMPLES)
        self.folder = base / f"example_{self.example}"
        self.folder.mkdir(parents=True)
        self.rule = {key: values[0] for key, values in RULES.items()}
        self.name: str | None = "one"
        self.listed: dict[str, tuple[int, ...]] = {}
        self.always_lets_go = True
        neighbour = base / f"neighbour_{self.example}"
        neighbour.mkdir()
        (neighbour / "n.tif").write_bytes(raster_bytes(value=9))
        self.declared: dict[str, Any] = {self.key("other"): self.entry(neighbour, {"collection": "first"})}
        self.write_sources()
        self.ingest(self.key("other"))

    # Names: those of one example are of no other, for all share a database.

    def key(self, name: str) -> str:
        return f"e{self.example}-{name}"

    def entry(self, folder: Path, ruled: dict[str, Any]) -> dict[str, Any]:
        keys = {**ruled, "collection": {"id": self.key(ruled["collection"]), "description": "d"}}
        return {"url": folder.as_uri(), "datetime": [{"fixed": "2020-01-01T00:00:00Z"}], **keys}

    def write_sources(self) -> None:
        own = {self.key(self.name): self.entry(self.folder, self.rule)} if self.name else {}
        self.pipeline.sources_path.write_text(yaml.safe_dump({"sources": {**self.declared, **own}}))
        self.always_lets_go &= self.rule["deletions"] == {}

    # What happens to files.

    @initialize(values=st.lists(VALUES, min_size=2, max_size=3), has_twins=st.booleans())
    def begin(self, values: list[int], has_twins: bool) -> None:
        for name, value in zip(("a.tif", "b.tif", "x/c.tif"), values, strict=False):
            self.put(name, raster_bytes(value=value))
        if has_twins:
            self.transfer("a.tif", "x/a.tif", os.link)
        self.run()

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        moment = next(MOMENTS)
        os.utime(path, (moment, moment))

    @rule(name=NAMES, value=VALUES)
    def write(self, name: str, value: int) -> None:
        self.put(name, raster_bytes(value=value))

    @rule(name=NAMES)
    def write_what_is_no_raster(self, name: str) -> None:
        self.put(name, BAD)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @rule(old=NAMES, new=NAMES, how=st.sampled_from([os.replace, shutil.copyfile, shutil.copy2, os.link]))
    def transfer(self, old: str, new: str, how: Callable[[Path, Path], object]) -> None:
        """Rename, copy or link a file, over another one perhaps."""
        source, target = self.folder / old, self.folder / new
        if old == new or not source.exists():
            return
        target.parent.mkdir(exist_ok=True)
        target.unlink(missing_ok=True)
        how(source, target)

    @rule(names=st.permutations(FILES))
    def shuffle(self, names: list[str]) -> None:
        """Rename all files at once."""
        moved = [(self.folder / old, self.folder / new) for old, new in zip(FILES, names, strict=True)]
        aside = [
            (old.rename(self.folder / f"{number}.moved"), new)
            for number, (old, new) in enumerate(moved)
            if old.exists()
        ]
        for path, new in aside:
            new.parent.mkdir(exist_ok=True)
            path.rename(new)

    # What happens to sources.yaml.

    @precondition(lambda self: self.name is not None)
    @rule(name=st.sampled_from(KEYS))
    def rename_source(self, name: str) -> None:
        self.name = name
        self.write_sources()
        self.run()

    @precondition(lambda self: self.name is not None)
    @rule()
    def remove_source(self) -> None:
        self.name = None
        self.write_sources()
        self.check()

    @precondition(lambda self: self.name is None)
    @rule(name=st.sampled_from(KEYS))
    def declare_source(self, name: str) -> None:
        self.name = name
        self.write_sources()
        self.run()

    @rule(key=st.sampled_from(sorted(RULES)), which=st.integers(0, 2))
    def change_rule(self, key: str, which: int) -> None:
        self.rule[key] = RULES[key][which % len(RULES[key])]
        self.write_sources()

    @precondition(lambda self: self.name is not None)
    @rule()
    def consent(self) -> None:
        self.pipeline.database.deletions.consent(self.key(str(self.name)))

    @rule()
    def run(self) -> None:
        if self.name is not None:
            self.ingest(self.key(self.name))
        self.check()

    def ingest(self, source: str) -> None:
        result = self.pipeline.run(source=source)
        said = failure_text(result)
        assert result.success or "deletions_held" in said, said

    def teardown(self) -> None:
        self.run()

    # What is then to be so.

    def check(self) -> None:
        """Each item tells the truth of its file, or waits with a reason; and the census says just that."""
        names = [*self.declared, *([self.key(self.name)] if self.name else [])]
        items = self.items()
        of_former = [item for item in items if item["source"] not in names]
        formers = {each.source: each.items for each in self.pipeline.database.handover.former_sources(names)}
        assert sum(formers.get(source, 0) for source in {item["source"] for item in of_former}) == len(of_former)
        other = self.pipeline.database.census.take(self.key("other"), declared=names)
        shared = {self.key("first")} - {self.collection_of(name) for name in names if name < self.key("other")}
        assert other.counts["former"] == sum(item["collection"] in shared for item in of_former), other
        if self.name is None:
            return
        assert of_former == []
        self.check_own(self.key(self.name), [item for item in items if item["source"] == self.key(str(self.name))])

    def collection_of(self, source: str) -> str:
        return SourcesFile(path=str(self.pipeline.sources_path)).get(source).collection.id

    def items(self) -> list[dict[str, Any]]:
        """What all items of this example but the neighbour's say, of whichever source and collection."""
        rows = self.pipeline.query(
            "SELECT collection, id, content->'properties', content->'assets'->'data' FROM pgstac.items "
            f"WHERE collection LIKE '{self.key('')}%' ORDER BY id"
        )
        claims = {
            (collection, item_id): (source, name)
            for collection, item_id, source, name in self.pipeline.query("SELECT * FROM ledger.item")
        }
        items = []
        for collection, item_id, properties, asset in rows:
            claim = (properties["geo_assets:source"], properties["geo_assets:blob"])
            assert claims[collection, item_id] == claim
            if claim[0] != self.key("other"):
                said = {"collection": collection, "source": claim[0], "name": claim[1]}
                items.append({**said, "properties": properties, "asset": asset})
        return items

    def check_own(self, source: str, items: list[dict[str, Any]]) -> None:
        matches = build_matcher(SourcesFile(path=str(self.pipeline.sources_path)).get(source))
        files = {
            path.relative_to(self.folder).as_posix(): path for path in sorted(self.folder.rglob("*")) if path.is_file()
        }
        live = {name: path for name, path in files.items() if matches(name)}
        states = dict(
            self.pipeline.query(
                f"SELECT name, state FROM ledger.blob_state WHERE source = '{source}' AND state <> 'deleted'"
            )
        )
        assert states.keys() == live.keys()
        assert set(states.values()) <= {"catalogued", "quarantined"}, states

        by_name = {item["name"]: item for item in items}
        assert len(by_name) == len(items)
        catalogued = {name for name, state in states.items() if state == "catalogued"}
        waiting = by_name.keys() - catalogued
        for name in catalogued:
            self.check_truth(by_name[name], live[name])
        for name, failure in self.pipeline.failures(source).items():
            self.check_reason(name, failure.code, live, catalogued)

        census = self.pipeline.database.census.take(source, declared=[*self.declared, source])
        assert census.green, census
        assert not any(census.counts[kind] for kind in (*WRONG, "pending", "going") if kind != "former"), census
        assert set(census.names("in_grace", "held")) == waiting
        assert waiting.isdisjoint(live)
        assert not (waiting and self.always_lets_go)
        self.listed = {name: version(path) for name, path in live.items()}

    def check_truth(self, item: dict[str, Any], path: Path) -> None:
        """The item is of this file: where it lies, its version, its size, its pixels' place, and its former name."""
        stated, asset, stat = item["properties"], item["asset"], path.stat()
        assert Path(unquote(urlsplit(asset["href"]).path)) == path
        assert stated["geo_assets:etag"] == f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}"
        assert asset["file:size"] == stat.st_size
        assert raster_bytes(value=round((stated["proj:transform"][2] - 500_000) / 30)) == path.read_bytes()
        assert stated["gsd"] == self.rule["gsd"]
        assert item["collection"] == self.key(self.rule["collection"])
        former = stated.get("geo_assets:renamed_from")
        if former is None or self.listed.get(item["name"]) == version(path):
            return
        assert self.listed[former] == version(path)
        assert [name for name, seen in self.listed.items() if seen == version(path)] == [former]

    def check_reason(self, name: str, code: str, live: dict[str, Path], catalogued: set[str]) -> None:
        """A file without an item is no raster, or another one of its name has the item."""
        if live[name].read_bytes() == BAD:
            assert code == "not_a_raster"
        else:
            assert (code, self.rule["item_id"]) == ("duplicate_item", "{stem}")
            assert any(Path(each).stem == Path(name).stem for each in catalogued - {name})


def version(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@pytest.mark.parametrize(
    ("examples", "steps"), [(2, 7), pytest.param(60, 25, marks=pytest.mark.soak)], ids=["some", "many"]
)
def test_any_sequence_leaves_an_exact_census_and_no_false_item(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: int, steps: int
) -> None:
    monkeypatch.setenv("GEO_ASSETS_WORKERS", "1")
    machine: Any = lambda: Sources(pipeline, tmp_path / "examples")  # noqa: E731
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
