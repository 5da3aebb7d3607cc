"""What must hold after every fault: each blob has its item or its reason, once, and nothing waits unexplained.

Here: the judgement. Not here: the faults, and writing the judgement down (`fault_record`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from geo_assets.resources.message_queue import MessageQueue
from tests.pipeline import SOURCE, Pipeline


@dataclass(frozen=True)
class Verdict:
    """The blobs of which the promise is broken, by how; all empty where it holds.

    ``lost`` have neither an item of their version nor a reason that stands for it, ``false`` items have no blob or
    one of another version, ``duplicated`` items are there more than once or beside a reason, and ``unexplained``
    messages are left in a queue, or in its dead letters without a record.
    """

    lost: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not (self.lost or self.false or self.duplicated or self.unexplained)


def judge(
    pipeline: Pipeline, blobs: Mapping[str, str], *, source: str = SOURCE, queues: Iterable[MessageQueue] = ()
) -> Verdict:
    """Compare the container, as names and etags of all its blobs that the source lists, with what users can see."""
    rows = pipeline.pgstac.items_of(source, most=1_000_000)
    items = [(item["properties"]["geo_assets:blob"], item["properties"]["geo_assets:etag"]) for item in rows]
    reasons = {name for name, failure in pipeline.failures(source).items() if failure.permanent}
    known = dict(pipeline.query(f"SELECT name, etag FROM ledger.blob WHERE deleted_at IS NULL AND source = '{source}'"))
    itemised = dict(items)
    lost = [name for name, etag in blobs.items() if itemised.get(name) != etag and name not in reasons]
    lost += [name for name, etag in blobs.items() if known.get(name) != etag]
    false = [name for name, etag in items if blobs.get(name) != etag]
    false += [name for name in known if name not in blobs]
    names = [name for name, _ in items]
    duplicated = [name for name in itemised if names.count(name) > 1] if len(names) > len(itemised) else []
    duplicated += [name for name in itemised if name in reasons]
    duplicated += [
        f"{collection}/{item}"
        for collection, item in pipeline.query(
            "SELECT collection, id FROM pgstac.items GROUP BY 1, 2 HAVING count(*) > 1"
        )
    ]
    return Verdict(
        sorted(set(lost)), sorted(set(false)), sorted(set(duplicated)), [*_unexplained(pipeline, list(queues))]
    )


def _unexplained(pipeline: Pipeline, queues: list[MessageQueue]) -> Iterable[str]:
    for queue in queues:
        if depth := queue.depth():
            yield f"{depth} messages in {queue.name}"
        ((recorded,),) = pipeline.query(
            f"SELECT count(*) FROM ledger.message WHERE queue = '{queue.name}' AND state = 'dead_letter'"
        )
        letters = len(queue.dead_letters(1000))
        if letters < recorded:
            yield f"{recorded} dead letters of {queue.name} are recorded, {letters} are there"
