"""A static STAC catalogue: folders of JSON files with relative links, which need no server.

Here: writing one from a reading of the catalogue, item by item. Not here: reading (`catalogue.reading`).

catalog.json
<collection>/collection.json
<collection>/items/<item>.json
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from geo_assets.catalogue.reading import CatalogueReading
from geo_assets.errors import InvalidConfiguration
from geo_assets.stac.item import STAC_VERSION
from geo_assets.storage.scratch import appearing_whole

Document = dict[str, Any]

_OWN_RELATIONS = frozenset({"self", "root", "parent", "child", "collection", "item", "items"})
_LONGEST_NAME = 200


def write_static_catalog(
    reading: CatalogueReading, folder: Path, *, progress: Callable[[int], None] = lambda _items: None
) -> int:
    """Write all that ``reading`` holds to ``folder``, which appears when it is complete; the number of items.

    Raises InvalidConfiguration where ``folder`` holds anything already.
    """
    written = 0
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidConfiguration(f"{folder} is not empty.", remedy="Name a new folder, or remove what is in it.")
    with appearing_whole(folder) as building:  # an empty folder of that name is replaced
        for collection in reading.collections.values():
            for _ in _write_collection(building / file_stem(collection["id"]), collection, reading):
                written += 1
                progress(written)
        children = [
            _link("child", f"./{file_stem(each['id'])}/collection.json", title=each.get("title"))
            for each in reading.collections.values()
        ]
        catalog = {
            "type": "Catalog",
            "stac_version": STAC_VERSION,
            "id": "geo_assets",
            "description": "The collections of geo_assets, as they stood when this was written.",
            "links": [_link("root", "./catalog.json"), *children],
        }
        _write_json(building / "catalog.json", catalog)
    return written


def file_stem(identifier: str) -> str:
    """What the file of this id is called: the id itself where it may stand in any path and link as it is."""
    plain = re.sub(r"[^A-Za-z0-9._~-]|^\.+", "_", identifier)
    if plain == identifier and len(plain) <= _LONGEST_NAME:
        return identifier
    return f"{plain[:_LONGEST_NAME]}-{hashlib.sha256(identifier.encode()).hexdigest()[:12]}"


def _write_collection(folder: Path, collection: Document, reading: CatalogueReading) -> Iterator[Path]:
    """Write the items, and a link to each into the collection as it goes: there may be a million."""
    items_folder = folder / "items"
    items_folder.mkdir(parents=True)
    links = [_link("root", "../catalog.json"), _link("parent", "../catalog.json"), *_other_links(collection)]
    with (folder / "collection.json").open("w", encoding="utf-8") as file:
        stated = {key: value for key, value in collection.items() if key != "links"}
        file.write(f'{json.dumps(stated, indent=2)[:-2]},\n  "links": [\n    ')
        file.write(",\n    ".join(map(json.dumps, links)))
        for batch in reading.batches(collection["id"]):
            for item in batch:
                path = items_folder / f"{file_stem(item['id'])}.json"
                _write_json(path, _with_relative_links(item))
                file.write(f",\n    {json.dumps(_link('item', f'./items/{path.name}'))}")
                yield path
        file.write("\n  ]\n}\n")


def _with_relative_links(item: Document) -> Document:
    links = [
        _link("root", "../../catalog.json"),
        _link("parent", "../collection.json"),
        _link("collection", "../collection.json"),
    ]
    return {**item, "links": [*links, *_other_links(item)]}


def _other_links(document: Document) -> list[Document]:
    """The links that do not say where in a catalogue the document is."""
    return [link for link in document.get("links", []) if link["rel"] not in _OWN_RELATIONS]


def _link(relation: str, href: str, *, title: str | None = None) -> Document:
    media_type = "application/geo+json" if relation == "item" else "application/json"
    return {"rel": relation, "href": href, "type": media_type, **({"title": title} if title else {})}


def _write_json(path: Path, document: Document) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
