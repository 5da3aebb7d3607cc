"""sources.yaml: the named places to ingest from, and the rule that turns their blobs into items.

Here: the schema of the file and its loading, with errors that name the file, the key and the remedy.
Not here: applying the rules (`geo_assets.stac`) or reaching the places (`geo_assets.storage`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

import pyproj
import yaml
from pydantic import AfterValidator, AliasChoices, Field, ValidationError, model_validator

from geo_assets.errors import InvalidConfiguration
from geo_assets.sources.cog_rules import CogRule
from geo_assets.sources.item_rules import BandRules, DatetimeRules, GroupRule, JsonDatetime
from geo_assets.sources.rules import AlertRules, Interval, Names, OneOrMore, QueueRule, Rule
from geo_assets.sources.vector_rules import TableRule, with_vector_globs

SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
ITEM_ID_FIELDS = ("slug", "stem", "path")


def _known_crs(text: str) -> str:
    try:
        pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise ValueError(f"{text!r} is no coordinate reference system that PROJ knows, such as EPSG:25832") from error
    return text


def _disjoint(shards: tuple[str, ...]) -> tuple[str, ...]:
    for shard in shards:
        if not shard or shard.startswith("/"):
            raise ValueError("a shard is what names below the url start with, without a slash in front, such as 2024/")
    for shard, other in permutations(shards, 2):
        if other.startswith(shard):
            raise ValueError(f"every blob lies in one shard, but those of {other!r} lie in {shard!r} as well")
    return shards


MOST_READ_BUDGET = 24 * 1024 * 1024


def _affordable(budget: int) -> int:
    if budget > MOST_READ_BUDGET:
        raise ValueError(
            f"at most {MOST_READ_BUDGET:,} bytes: no more than 32 MiB of a blob are fetched, header and all; "
            "a coarser overview is read where the pixels take more"
        )
    return budget


class ProviderRule(Rule):
    """An organization that made, processed, licenses or hosts the data."""

    name: str = Field(min_length=1)
    """Its name."""
    description: str | None = None
    """What it did."""
    roles: tuple[Literal["licensor", "producer", "processor", "host"], ...] = ()
    """What it is to the data."""
    url: str | None = None
    """Its home page."""


class LinkRule(Rule):
    """A link of the collection, such as to its licence or documentation."""

    rel: str = Field(min_length=1)
    """What is linked: `license`, `about`, ..."""
    href: str = Field(min_length=1)
    """Its address."""
    type: str | None = None
    """Its media type."""
    title: str | None = None
    """Its title for people."""


class CollectionRule(Rule):
    """What the source's owner states about the STAC collection its items belong to (docs/guides/collections.md)."""

    id: str = Field(pattern=r"^[A-Za-z0-9._~-]{1,200}$")
    """Its id in the catalogue."""
    title: str | None = None
    """Its title for people."""
    description: str = Field(min_length=1)
    """What is in it."""
    license: str = Field(default="other", min_length=1)
    """An SPDX identifier, or `other`."""
    keywords: tuple[str, ...] = ()
    """Words to find it by."""
    providers: tuple[ProviderRule, ...] = ()
    """Who made and who hosts the data."""
    links: tuple[LinkRule, ...] = ()
    """Links to more about it."""
    item_assets: dict[str, dict[str, Any]] = Field(default={})
    """What the assets of its items are, as STAC 1.1 says it; goes into the collection as it is."""
    renders: dict[str, dict[str, Any]] = Field(default={})
    """How to draw it (render extension); goes into the collection as it is."""
    protected: bool = False
    """Whether the collection and its items cannot be deleted by hand."""

    def __hash__(self) -> int:
        """A source is the key of a worker's connection to its store, also where its collection holds mappings."""
        return hash(self.model_dump_json())


class FootprintRule(Rule):
    """What an item's footprint is (docs/guides/footprints.md)."""

    valid_data: bool = False
    """Whether it is the outline of the valid pixels, which are then read, instead of the raster's edges."""
    tolerance_pixels: float = Field(default=1.0, ge=0, le=100)
    """How far from the pixels it was taken from that outline may be."""


class DeletionRule(Rule):
    """How items whose blobs are gone are removed (docs/guides/deletions.md)."""

    grace: Interval = timedelta(0)
    """How long an item stays after its blob is gone."""
    max_share: float = Field(default=0.5, ge=0, le=1, validation_alias=AliasChoices("max_share", "most"))
    """The share of the source's items that may be removed at once without approval; 1: any number."""
    min_count: int = Field(default=10, ge=0, validation_alias=AliasChoices("min_count", "allow"))
    """This many items may be removed in any case."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or a container with what names in it start with: "" or ending with a slash. No disk is asked."""

    folder: Path | None
    container: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> "Place":
        """The place at az://container/prefix or file:///folder."""
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.scheme == "file":
            return cls(Path(path), "", "")
        return cls(None, parts.netloc, f"{path.strip('/')}/" if path.strip("/") else "")

    def is_within(self, other: "Place") -> bool:
        """Whether the blobs here have the same names there, and all lie there."""
        return (self.folder, self.container) == (other.folder, other.container) and self.prefix.startswith(other.prefix)

    def overlaps(self, other: "Place") -> bool:
        """Whether a blob here can be one there, by the same name."""
        return self.is_within(other) or other.is_within(self)


class Source(Rule):
    """One source: where its blobs lie, which of them count, and how they become items."""

    name: str
    url: str
    """`az://container/prefix`, `file:///folder`, or `file:folder` below the folder of sources.yaml."""
    include: Names = ("**/*.tif", "**/*.tiff", "**/*.TIF", "**/*.TIFF")
    """Globs on the path below the prefix, `**` spans folders. With `tables`: all vector formats that are read."""
    exclude: Names = ()
    """Globs of what is left out all the same."""
    shards: Annotated[tuple[str, ...], OneOrMore, AfterValidator(_disjoint)] = ()
    """For millions of blobs: what names below the prefix start with, such as `2024/`. Each is listed separately, and
    together they hold every blob of the source."""
    limit: int | None = Field(default=None, ge=1)
    """List the first N blobs only; cannot be combined with `shards`."""
    collection: CollectionRule
    """The STAC collection of its items."""
    item_id: str = "{slug}"
    """The items' ids, of {slug} (the path, readable and unique), {stem} (the file's name), {path}; not with `group`."""
    group: GroupRule | None = None
    """Many blobs make one item (docs/guides/scenes.md)."""
    deletions: DeletionRule = DeletionRule()
    """When items go whose blobs are gone, and how many at once."""
    relist: Interval | None = None
    """How often the sensor lists the whole source; by default in each tick, or every hour if a queue brings its
    events (docs/guides/events.md)."""
    statistics: bool = False
    """Whether pixels are read for the statistics of bands."""
    footprint: FootprintRule = FootprintRule()
    """What an item's footprint is."""
    assume_crs: Annotated[str, AfterValidator(_known_crs)] | None = None
    """The CRS of files that state none, nor have a .prj beside them."""
    vrt: bool = False
    """Whether VRTs are read whose pixels lie in this source (docs/guides/formats.md)."""
    read_budget: Annotated[int, AfterValidator(_affordable)] = Field(default=4_000_000, ge=65_536)
    """About how many bytes of pixels are read of a blob at most, for `statistics` and `footprint.valid_data`; up to
    25165824 (24 MiB)."""
    bands: BandRules = ()
    """What the bands of its rasters are, in the files' order (docs/guides/items.md)."""
    gsd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The ground sample distance in metres."""
    region: str | None = Field(default=None, min_length=1)
    """The region of the storage account."""
    cogs: CogRule | None = None
    """A COG and a thumbnail is made of each raster (docs/guides/cogs.md); `{}` for every default."""
    datetime: DatetimeRules = ()
    """Where the date comes from: rules that are tried in order. Where none matches, the time coordinate of a NetCDF or
    Zarr file counts; else the blob is quarantined as `missing_datetime`."""
    tables: TableRule | None = None
    """Its files are vectors and become tables (docs/guides/vectors.md); `{}` for every default."""

    _include_vectors = model_validator(mode="before")(with_vector_globs)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not SOURCE_NAME.fullmatch(self.name):
            raise ValueError("a source's name has letters, digits, - and _ (at most 63)")
        parts = urlsplit(self.url)
        if parts.scheme not in ("az", "file"):
            raise ValueError("url starts with az:// or file:")
        if "?" in self.url or "#" in self.url:
            raise ValueError("url has no query or fragment: write %3F for ? and %23 for #; credentials go elsewhere")
        if parts.scheme == "az" and not parts.netloc:
            raise ValueError("url has no container: az://container/prefix")
        if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
            raise ValueError("a folder's url has three slashes: file:///folder")
        if self.shards and self.limit is not None:
            raise ValueError(
                "`limit` and `shards` cannot be combined: a listing that stops early cannot detect deleted blobs"
            )
        if self.group is not None and "item_id" in self.model_fields_set:
            raise ValueError(
                "`item_id` and `group` cannot be combined: the regular expression's group `item` is the id"
            )
        if self.group is not None and self.tables is not None:
            raise ValueError("`group` and `tables` cannot be combined: a source holds rasters or vectors")
        if self.group is None and any(isinstance(rule, JsonDatetime) for rule in self.datetime):
            raise ValueError("a datetime by json needs a group, of which the JSON document is a member")
        try:
            self.item_id.format(**dict.fromkeys(ITEM_ID_FIELDS, "x"))
        except (KeyError, IndexError, ValueError) as error:
            fields = ", ".join(f"{{{name}}}" for name in ITEM_ID_FIELDS)
            raise ValueError(f"item_id may use {fields}: {error}") from error
        return self

    @property
    def container(self) -> str:
        """The container of an az:// source; "" for a folder."""
        return urlsplit(self.url).netloc if self.url.startswith("az:") else ""

    @property
    def prefix(self) -> str:
        """What every blob name of this source starts with; "" for a folder or a whole container."""
        path = unquote(urlsplit(self.url).path).lstrip("/") if self.url.startswith("az:") else ""
        return f"{path.rstrip('/')}/" if path.strip("/") else ""

    @property
    def folder(self) -> Path | None:
        """The folder of a file: source, None for az://."""
        return Path(unquote(urlsplit(self.url).path)) if self.url.startswith("file:") else None

    @property
    def listing_digest(self) -> str:
        """Digest of all that decides which blobs are listed: when it changes, a listing cannot go on halfway."""
        return _digest(self.model_dump(mode="json", include={"url", "include", "exclude", "limit"}))

    @property
    def reading_digest(self) -> str:
        """Digest of all that decides what is read of a blob: when it changes, blobs are read again."""
        wanted = ["statistics"] if self.statistics else []
        if self.footprint.valid_data:
            wanted.append(f"valid data by {self.footprint.tolerance_pixels:g} pixels")
        reading = f"{' and '.join(wanted)} within {self.read_budget}" if wanted else "headers"
        reading = f"{reading}, assuming {self.assume_crs}" if self.assume_crs else reading
        reading = f"{reading}, VRTs" if self.vrt else reading
        reading = f"{reading}, tables {_digest(self.tables.model_dump(mode='json'))}" if self.tables else reading
        return f"{reading}, documents {_digest(self.documents)}" if self.documents else reading

    @property
    def rule_digest(self) -> str:
        """Digest of all that decides how a blob becomes an item: when it changes, items are rebuilt."""
        # assume_crs as well: blobs refused for want of a CRS are then tried again. item_assets, because PgSTAC stores
        # of an item's assets only what they do not say already.
        collection = {"id", "item_assets"} if self.collection.item_assets else {"id"}
        keys = ("item_id", "datetime", "bands", "gsd", "region", "assume_crs", "group")
        deciding: Any = {"collection": collection, **dict.fromkeys(keys, True)}
        return _digest(self.model_dump(mode="json", include=deciding))

    @property
    def documents(self) -> dict[str, list[str]]:
        """The JSON pointers that are read of each JSON member of a scene, by the member's asset."""
        pointers: dict[str, set[str]] = {}
        for rule in self.datetime:
            if isinstance(rule, JsonDatetime):
                pointers.setdefault(rule.document, set()).update(rule.path)
        for wanted in self.group.properties.values() if self.group else ():
            pointers.setdefault(wanted.document, set()).add(wanted.path)
        return {asset: sorted(paths) for asset, paths in sorted(pointers.items())}


def _digest(rule: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:16]


def load_sources(path: Path) -> dict[str, Source]:
    """Read and check ``path``; the sources by name, in the file's order.

    Raises InvalidConfiguration naming the file, the line or key, and the remedy.
    """
    entries = _load_document(path).get("sources")
    if not isinstance(entries, dict):
        raise InvalidConfiguration(
            f"{path}: no mapping `sources`.", remedy="Start the file with `sources:` and one key a source below it."
        )
    return {str(name): _source(path, str(name), entry) for name, entry in entries.items()}


def load_queues(path: Path) -> dict[str, QueueRule]:
    """Read and check the queues of the file at ``path``, by name; none where it has no `queues`.

    Raises InvalidConfiguration as `load_sources` does, also where a queue names a source that is not declared.
    """
    entries = _load_document(path).get("queues") or {}
    if not isinstance(entries, dict):
        raise InvalidConfiguration(f"{path}: `queues` is no mapping.", remedy="Write one key a queue below it.")
    sources = load_sources(path)
    queues: dict[str, QueueRule] = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise InvalidConfiguration(
                f"{path}: queues.{name} is not a mapping.", remedy="Give it storage_queue or service_bus."
            )
        try:
            queue = QueueRule.model_validate({**entry, "name": str(name)})
        except ValidationError as error:
            raise _invalid(path, f"queues.{name}", error) from error
        if unknown := [source for source in queue.sources if source not in sources]:
            raise InvalidConfiguration(
                f"{path}: queues.{name}.sources: there is no source {', '.join(unknown)}.",
                remedy=f"Use names of sources: {', '.join(sources)}.",
            )
        queues[queue.name] = queue
    return queues


def load_alert_rules(path: Path) -> AlertRules:
    """Read and check what the file at ``path`` says of alerts; the defaults where it has no `alerts`.

    Raises InvalidConfiguration as `load_sources` does.
    """
    try:
        return AlertRules.model_validate(_load_document(path).get("alerts") or {})
    except ValidationError as error:
        raise _invalid(path, "alerts", error) from error


def _load_document(path: Path) -> dict[str, Any]:
    try:
        loader = yaml.SafeLoader(path.read_text("utf-8"))
        node = loader.get_single_node()
        _require_different_keys(path, node)
        document = None if node is None else loader.construct_document(node)
    except FileNotFoundError:
        raise InvalidConfiguration(
            f"{path} does not exist.",
            remedy="Write it (docs/first-container.md), or set GEO_ASSETS_SOURCES to where it is.",
        ) from None
    except OSError as error:
        raise InvalidConfiguration(
            f"Cannot read {path}: {error.strerror}.",
            remedy="Make the file readable, or set `GEO_ASSETS_SOURCES` to another file.",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise InvalidConfiguration(f"{where}: {problem}.", remedy="Correct the YAML there.") from error
    return document if isinstance(document, dict) else {}


def _require_different_keys(path: Path, document: yaml.Node | None) -> None:
    """Raise InvalidConfiguration if a key appears twice in one mapping: YAML would drop the first without a word."""
    open_nodes: list[tuple[str, yaml.Node | None]] = [("", document)]
    seen: set[int] = set()  # an alias leads to the same node again
    while open_nodes:
        where, node = open_nodes.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        if not isinstance(node, yaml.MappingNode):
            open_nodes += [(where, each) for each in node.value]
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = f"{where}{key.value}", key.start_mark.line + 1
            if name in lines:
                raise InvalidConfiguration(
                    f"{path}: the key `{name}` appears twice, on lines {lines[name]} and {line}.",
                    remedy="Rename one of them, or remove it.",
                )
            lines[name] = line
            open_nodes.append((f"{name}.", value))


def get_source(path: Path, name: str) -> Source:
    """The source called ``name`` in the file at ``path``.

    Raises InvalidConfiguration where there is none, naming those there are.
    """
    sources = load_sources(path)
    if name not in sources:
        raise InvalidConfiguration(
            f"{path} has no source {name!r}; it has: {', '.join(sources) or 'none'}.",
            remedy="Use one of these names, or add the source to the file.",
        )
    return sources[name]


def _source(path: Path, name: str, entry: object) -> Source:
    if not isinstance(entry, dict):
        raise InvalidConfiguration(f"{path}: sources.{name} is not a mapping.", remedy="Give it url and collection.")
    fields: dict[str, Any] = {**entry, "name": name}
    if isinstance(url := fields.get("url"), str) and url.startswith("file:"):
        relative = unquote(url.removeprefix("file:"))
        if not relative.startswith("/"):
            fields["url"] = (path.parent / relative).resolve().as_uri()
    try:
        return Source.model_validate(fields)
    except ValidationError as error:
        raise _invalid(path, f"sources.{name}", error) from error


def _invalid(path: Path, where: str, error: ValidationError) -> InvalidConfiguration:
    problems = "; ".join(
        f"{where}{''.join(f'.{part}' for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors(include_url=False)
    )
    return InvalidConfiguration(f"{path}: {problems}.", remedy="Correct these keys (see docs/reference/sources.md).")
