"""What the stages do where many blobs make one item: read JSON members, and catalogue whole scenes.

Here: the scenes' part of `raster_metadata` and `stac_items`. Not here: the stages themselves, the item of a scene
(`stac.scene`).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from geo_assets.assets.batches import BatchReport
from geo_assets.catalogue.items import Item
from geo_assets.catalogue.pgstac import PgStac
from geo_assets.errors import DuplicateItem, PermanentError, TransientError
from geo_assets.ledger.blobs import Batch, Ledger
from geo_assets.models import BlobRef, Failure
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.remarks import Remarks, check_item, scene_with_remarks
from geo_assets.stac.scene import build_scene_item, check_document_size, read_document
from geo_assets.stac.scene_members import Scene, membership
from geo_assets.stac.schemas import ItemValidator
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.blob_stores import open_store

Document = dict[str, Any]

# Scenes go to PgSTAC in loads of this many.
LOAD_SIZE = 500
# Documents are read and committed in steps of this many.
DOCUMENTS_AT_ONCE = 100


def split_documents(source: Source, blobs: Sequence[BlobRef]) -> tuple[list[BlobRef], list[BlobRef]]:
    """The blobs whose header is read, and those of which values of their JSON are."""
    if not source.documents:
        return list(blobs), []
    kinds = [(blob, membership(source, blob.name)) for blob in blobs]
    documents = [blob for blob, each in kinds if each is not None and each.kind == "document"]
    return [blob for blob, each in kinds if each is None or each.kind != "document"], documents


def describe_documents(
    source: Source, blobs: Sequence[BlobRef], *, settings: Settings, ledger: Ledger, run_id: str | None
) -> BatchReport:
    """Read the JSON members ``blobs``; each gets its values or its reason.

    Raises the store's error once it fails; what was read until then is recorded.
    """
    report = BatchReport(done=0, failed=0)
    if not blobs:
        return report
    with (
        open_store(source, settings) as store,
        ThreadPoolExecutor(settings.read_concurrency, thread_name_prefix="document") as threads,
    ):
        for start in range(0, len(blobs), DOCUMENTS_AT_ONCE):
            step = blobs[start : start + DOCUMENTS_AT_ONCE]
            results = list(threads.map(lambda blob: (blob, _read(source, blob, store)), step))
            read = [(blob, result) for blob, result in results if isinstance(result, dict)]
            failures = [Failure.of(blob, result) for blob, result in results if isinstance(result, PermanentError)]
            ledger.record_documents(source.name, read, run_id=run_id)
            ledger.record_failures(source, failures, stage="describe", run_id=run_id)
            size_bytes = sum(blob.size_bytes for blob, _ in read)
            report += BatchReport(done=len(read), failed=len(failures), bytes_read=size_bytes)
            for _, result in results:
                if isinstance(result, TransientError):
                    raise result
    return report


def catalogue_scenes(
    source: Source,
    batch: Batch,
    *,
    store: BlobStore,
    validator: ItemValidator,
    ledger: Ledger,
    pgstac: PgStac,
    run_id: str | None,
) -> BatchReport:
    """Build, load and read back the items of the scenes of a batch; each blob of them gets its item or its reason."""
    report = BatchReport(done=0, failed=0)
    scenes = ledger.scenes_to_catalogue(source.name, first=batch.first, last=batch.last, as_of=batch.as_of)
    for start in range(0, len(scenes), LOAD_SIZE):
        portion = scenes[start : start + LOAD_SIZE]
        remarks = ledger.remarks(source.name, [member.blob.name for scene in portion for member in scene.members])
        built, failures = _build(source, portion, href=store.href, validator=validator, remarks=remarks)
        own, duplicates = _claim(source, built, pgstac=pgstac)
        failures += duplicates
        pgstac.load(source, [(scene.version, item) for scene, item in own])
        ledger.record_scenes_catalogued(source, [scene for scene, _ in own], run_id=run_id, remarks=remarks)
        ledger.record_failures(source, failures, stage="catalogue", run_id=run_id)
        surplus = ledger.record_surplus(source, [scene for scene, _ in own], run_id=run_id)
        done = sum(len(scene.members) for scene, _ in own)
        report += BatchReport(done=done, failed=len(failures) + surplus)
    return report


def _read(source: Source, blob: BlobRef, store: BlobStore) -> Document | PermanentError | TransientError:
    said = membership(source, blob.name)
    assert said is not None
    try:
        check_document_size(blob)
        content = store.read_range(blob, 0, blob.size_bytes) if blob.size_bytes else b""
        return read_document(content, source.documents[said.asset])
    except (PermanentError, TransientError) as error:
        return error


def _build(
    source: Source,
    scenes: Sequence[Scene],
    *,
    href: Callable[[str], str],
    validator: ItemValidator,
    remarks: Mapping[str, Remarks],
) -> tuple[list[tuple[Scene, Item]], list[Failure]]:
    """The item of each scene, and the failures of the members of those that cannot have one."""
    built: list[tuple[Scene, Item]] = []
    failures: list[Failure] = []
    for scene in scenes:
        try:
            item = build_scene_item(source=source, scene=scene, href=href)
            said = {m.blob.name: remarks[m.blob.name] for m in scene.members if m.blob.name in remarks}
            item = scene_with_remarks(item, said)
            check_item(item, validator)
            built.append((scene, item))
        except PermanentError as error:
            failures += _failures(scene, error)
    return built, failures


def _claim(
    source: Source, built: Sequence[tuple[Scene, Item]], *, pgstac: PgStac
) -> tuple[list[tuple[Scene, Item]], list[Failure]]:
    """The scenes whose item id is their own, and the failures of the members of the others."""
    owners = pgstac.claim(source, [(scene.version, item) for scene, item in built])
    own: list[tuple[Scene, Item]] = []
    failures: list[Failure] = []
    for scene, item in built:
        owner = owners.get(item["id"])
        if owner is None or owner == (source.name, scene.id):
            own.append((scene, item))
        else:
            message = f"item id {item['id']!r} of scene {scene.id} belongs to {owner[1]} of source {owner[0]}."
            remedy = "Make the regular expression's group `item` in sources.yaml unique."
            failures += _failures(scene, DuplicateItem(message, remedy=remedy))
    return own, failures


def _failures(scene: Scene, error: PermanentError) -> list[Failure]:
    """One reason for every blob of a scene that cannot be an item."""
    return [Failure.of(member.blob, error) for member in (*scene.members, *scene.surplus)]
