"""geo-assets deadletters: dead letters of event queues: which, why, and another try."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from rich.table import Column, Table

from geo_assets.cli.console import clear_errors, console, json_option, limit_option, print_error, print_json, shown
from geo_assets.errors import DatabaseUnavailable, InvalidConfiguration, TransientError
from geo_assets.events.dead_letters import BODY_CHARACTERS, DeadLetterBox, Outcome, SetAside, readable
from geo_assets.resources.database import Database
from geo_assets.resources.queues import MessageQueues
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sources.rules import QueueRule

MOST_AT_ONCE = 1000

queue_option = click.option("--queue", help="Only this queue of sources.yaml")
code_option = click.option("--code", help="Only dead letters with this code, such as malformed_message")
all_option = click.option("--all", "everything", is_flag=True, help="Every dead letter, or all with --code or --queue")
messages_argument = click.argument("message_ids", metavar="[ID]...", nargs=-1)


@click.group("deadletters")
def deadletters_group() -> None:
    """List, show, replay and drop dead letters of event queues.

    A message that is not a valid event is dead-lettered at once; one that failed for a temporary reason, after the
    queue's `max_attempts`. The next listing finds what it reported in any case.
    """


@deadletters_group.command("list")
@queue_option
@code_option
@limit_option(100, "of each queue")
@json_option
def list_command(*, queue: str | None, code: str | None, limit: int, as_json: bool) -> None:
    """List the dead letters of each queue with their reasons. Exits with 1 if a queue does not answer."""
    messages: list[SetAside] = []
    failed: list[TransientError] = []
    with clear_errors():
        for rule in _rules(queue):
            try:
                with _open_box(rule) as box:
                    messages += [each for each in box.messages(most=limit) if code in (None, each.code)][:limit]
            except DatabaseUnavailable:
                raise
            except TransientError as error:  # the others have theirs all the same
                failed.append(error)
    if as_json:
        print_json([_document(message, most=BODY_CHARACTERS) for message in messages])
    elif messages or not failed:
        _print_list(messages)
    for each in failed[:-1]:
        print_error(each)
    with clear_errors():
        if failed:
            raise failed[-1]


@deadletters_group.command("show")
@click.argument("message_id", metavar="ID")
@queue_option
@json_option
def show_command(message_id: str, *, queue: str | None, as_json: bool) -> None:
    """Show the complete message ID, decoded for reading, and why it was dead-lettered."""
    with clear_errors():
        found = next((message for message in _found(message_id, queue) if message.body), None)
        if found is None:
            raise _missing([message_id])
    if as_json:
        print_json(_document(found))
        return
    for label, value in (
        ("queue", found.queue),
        ("code", found.code),
        ("reason", found.reason),
        ("correlation id", found.correlation_id),
        ("attempts", found.delivery_count),
        ("dead-lettered", found.recorded_at and f"{found.recorded_at:%Y-%m-%d %H:%M:%S}"),
        ("body", None if found.seen else "its first 1,000 characters, because the queue does not show it"),
    ):
        if value is not None:
            console.print(f"{label}: {shown(str(value))}", highlight=False)
    console.print(readable(found.body), markup=False, highlight=False, soft_wrap=True)


@deadletters_group.command("replay")
@messages_argument
@all_option
@code_option
@queue_option
@json_option
def replay_command(
    message_ids: tuple[str, ...], *, everything: bool, code: str | None, queue: str | None, as_json: bool
) -> None:
    """Put dead letters back into their queue: those with an ID, or --all (of a --code, of a --queue)."""
    _check_choice(message_ids, everything, code)
    with clear_errors():
        done = _settle(DeadLetterBox.replay, message_ids, code=code, queue=queue)
    if as_json:
        print_json({"replayed": done["replayed"], "missing": done["missing"]})
    else:
        console.print(f"{done['replayed']:,} messages are back in their queues.")
        if done["missing"]:
            console.print(
                f"{done['missing']:,} were not found there; `geo-assets deadletters drop` deletes their records."
            )


@deadletters_group.command("drop")
@messages_argument
@all_option
@code_option
@queue_option
@click.option("--yes", is_flag=True, help="Do not ask")
@json_option
def drop_command(
    message_ids: tuple[str, ...], *, everything: bool, code: str | None, queue: str | None, yes: bool, as_json: bool
) -> None:
    """Delete dead letters for good: those with an ID, or --all (of a --code, of a --queue)."""
    _check_choice(message_ids, everything, code)
    if not yes:
        which = f"these {len(message_ids):,} messages" if message_ids else "all these messages"
        click.confirm(f"Delete {which} for good?", abort=True, err=True)
    with clear_errors():
        done = _settle(DeadLetterBox.drop, message_ids, code=code, queue=queue)
    if as_json:
        print_json({"dropped": done["dropped"]})
    else:
        console.print(f"{done['dropped']:,} messages are deleted.")


def _rules(queue: str | None) -> list[QueueRule]:
    queues = SourcesFile().queues()
    if queue is not None and queue not in queues:
        raise InvalidConfiguration(
            f"sources.yaml has no queue {queue!r}; it has: {', '.join(queues) or 'none'}.",
            remedy="Use one of these names.",
        )
    return [rule for name, rule in queues.items() if queue in (None, name)]


@contextmanager
def _open_box(rule: QueueRule) -> Iterator[DeadLetterBox]:
    """The dead letters of the queue of ``rule``. Raises InvalidConfiguration where its service is not configured."""
    with MessageQueues().open(rule) as queue:
        yield DeadLetterBox(rule, queue, Database().dead_letters)


def _check_choice(message_ids: Sequence[str], everything: bool, code: str | None) -> None:
    if bool(message_ids) == everything or (message_ids and code):
        raise click.UsageError("Name the IDs of messages, or use --all with or without --code and --queue.")


Act = Callable[[DeadLetterBox, SetAside], Outcome]


def _settle(act: Act, message_ids: Sequence[str], *, code: str | None, queue: str | None) -> Counter[Outcome]:
    """Do it to each message; how many came out how. Raises where there is none of an id."""
    outcomes: Counter[Outcome] = Counter()
    unknown = set(message_ids)
    started_at = Database().now()
    for rule in _rules(queue):
        with _open_box(rule) as box:
            if message_ids:
                chosen: Iterator[SetAside] = (box.find(each, most=MOST_AT_ONCE) for each in message_ids)
            else:
                chosen = _all(box, code, started_at)
            for message in chosen:
                outcome = act(box, message)
                if outcome != "missing" or message.record is not None:
                    outcomes[outcome] += 1
                    unknown.discard(message.message_id)
    if unknown:
        raise _missing(sorted(unknown))
    return outcomes


def _all(box: DeadLetterBox, code: str | None, started_at: datetime) -> Iterator[SetAside]:
    """Every dead letter of the box, page by page, except those set aside since we began: they may be ours."""
    done: set[str] = set()
    while True:
        page = [
            message
            for message in box.messages(most=MOST_AT_ONCE)
            if message.message_id not in done
            and code in (None, message.code)
            and (message.recorded_at is None or message.recorded_at < started_at)
        ]
        # What only the ledger knows comes last: a later page of the queue may show it.
        page = [message for message in page if message.seen] or page
        if not page:
            return
        done.update(message.message_id for message in page)
        yield from page


def _found(message_id: str, queue: str | None) -> Iterator[SetAside]:
    for rule in _rules(queue):
        with _open_box(rule) as box:
            yield box.find(message_id, most=MOST_AT_ONCE)


def _missing(message_ids: Sequence[str]) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"There is no dead letter {', '.join(message_ids)}.", remedy="List them with `geo-assets deadletters list`."
    )


def _document(message: SetAside, *, most: int | None = None) -> dict[str, Any]:
    return {
        "queue": message.queue,
        "id": message.message_id,
        "code": message.code,
        "reason": message.reason,
        "correlation_id": message.correlation_id,
        "tries": message.delivery_count,
        "enqueued_at": message.enqueued_at,
        "given_up_at": message.recorded_at,
        "seen_in_queue": message.seen,
        "body": readable(message.body)[:most],
    }


def _print_list(messages: list[SetAside]) -> None:
    if not messages:
        console.print("There are no dead letters.")
        return
    table = Table(
        "queue", Column("id", overflow="fold"), "code", "reason", "correlation id", "attempts", "dead-lettered"
    )
    for message in messages:
        moment = message.recorded_at or message.enqueued_at
        table.add_row(
            shown(message.queue),
            shown(message.message_id),
            shown(message.code or ""),
            shown(message.reason or ""),
            shown(message.correlation_id or ""),
            str(message.delivery_count),
            f"{moment:%Y-%m-%d %H:%M}" if moment else "",
        )
    console.print(table)
    for (queue, code), number in Counter((message.queue, message.code) for message in messages).items():
        console.print(f"{shown(queue)}: {number:,} {shown(code or 'without a code')}", highlight=False)
