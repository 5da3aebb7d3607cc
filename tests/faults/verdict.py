"""What must hold after every fault: each blob has its item or its reason, once, and nothing waits unexplained.

Here: the judgement. Not here: the faults, and writing the judgement down (`fault_record`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from geo_assets.events.dead_letters import BODY_CHARACTERS
from geo_assets.events.message_queue import MessageQueue
from tests.pipeline import SOURCE, Pipeline

_LETTERS = 32  # of a Storage Queue no more can be seen


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
    pipeline: Pipeline,
    blobs: Mapping[str, str],
    *,
    source: str = SOURCE,
    queues: Iterable[MessageQueue] = (),
    waiting: Mapping[str, int] | None = None,
) -> Verdict:
    """Compare the container, as names and etags of all its blobs that the source lists, with what users can see.

    ``waiting`` says how many messages lie in queues that do not say so themselves.
    """
    rows = pipeline.database.catalogue.items_of(source, most=1_000_000)
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
    unexplained = [f"{count} messages in {name}" for name, count in (waiting or {}).items() if count]
    for queue in queues:
        unexplained += _unexplained(pipeline, queue)
    return Verdict(sorted(set(lost)), sorted(set(false)), sorted(set(duplicated)), unexplained)


def _unexplained(pipeline: Pipeline, queue: MessageQueue) -> Iterator[str]:
    """What waits in the queue, dead letters without a record, and records of dead letters that are not there.

    One message may become two equal dead letters (`MessageQueue.dead_letter`): one record explains both.
    """
    if depth := queue.depth():
        yield f"{depth} messages in {queue.name}"
    records = pipeline.query(
        "SELECT message_id, body_start, state FROM ledger.message "
        f"WHERE queue = '{queue.name}' AND path = '{queue.path}'"
    )
    letters = [letter.message for letter in queue.dead_letters(_LETTERS)]
    bodies = [letter.body.decode(errors="replace").replace("\0", "\ufffd")[:BODY_CHARACTERS] for letter in letters]
    recorded = {record[0] for record in records} | {record[1] for record in records}
    for letter, body in zip(letters, bodies, strict=True):
        if letter.message_id not in recorded and body not in recorded:
            yield f"a dead letter of {queue.name} without a record: {body[:80]}"
    there = {letter.message_id for letter in letters} | set(bodies)
    for message_id, body, state in records:
        if state == "dead_letter" and message_id not in there and body not in there and len(letters) < _LETTERS:
            yield f"message {message_id} of {queue.name} is recorded as a dead letter, and is none"
