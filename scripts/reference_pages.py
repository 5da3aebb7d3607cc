"""The pages below docs/reference, made from the code that they tell of: `python -m scripts.reference_pages`.

Here: sources.yaml from its models, settings from their model and `.env.example`, errors from their classes, commands
from click. Not here: the site they are part of (mkdocs.yml). A test fails where a page is another than the code makes.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from geo_assets.api.problems import status_of
from geo_assets.cli.main import main
from geo_assets.display import say_duration
from geo_assets.errors import GeoAssetsError, PermanentError, TransientError
from geo_assets.settings import Settings
from geo_assets.sources.rules import AlertRules, OneOrMore, QueueRule
from geo_assets.sources.source import Source

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / "docs" / "reference"
_MADE = "<!-- Made by `make docs` from the code: change that, not this page. -->"
_PAGE = re.compile(r"docs/((?:[a-z-]+/)*[a-z0-9-]+\.md)")

# --- sources.yaml

_SOURCES = """# sources.yaml

The locations that geo_assets ingests from, the queues that bring their events, and the alerts. The file lies
beside `dagster.yaml`, or where `GEO_ASSETS_SOURCES` says. `geo-assets sources` checks it; a mistake is named with
its key and what to do. A key that is not here is refused.

```yaml
sources:
  landsat:                                # a source's name: letters, digits, - and _, at most 63
    url: az://bronze/landsat
    include: ["**/*.tif", "**/*.TIF"]
    collection: {id: landsat, title: Landsat, description: Landsat scenes, license: other}
    datetime:                             # tried in order
      - metadata: TIFFTAG_DATETIME
      - {name: '_(?P<date>\\d{8})_', format: "%Y%m%d"}
      - {start: PRODUCT_START_TIME, end: PRODUCT_STOP_TIME}
      - {fixed: "2020-01-01T00:00:00Z"}
    deletions: {grace: 7 days}
queues:
  arrivals: {storage_queue: blob-events}
alerts:
  backlog: 2h
```

A length of time is `90s`, `30 min`, `1h`, `2 days` or ISO 8601 (`PT1H`). Where a list of texts is expected, one text
counts as a list of one. Changing a key does what it must, and no more: listings start over, blobs are read again,
or items are rebuilt.
"""


def sources_page() -> str:
    """Each mapping of the file with its keys."""
    tops: tuple[tuple[str, type[BaseModel]], ...] = (
        ("sources.*", Source),
        ("queues.*", QueueRule),
        ("alerts", AlertRules),
    )
    told = {model for _, model in tops}
    return "\n".join([_SOURCES, *(section for path, model in tops for section in _sections(path, model, told))])


def _sections(path: str, model: type[BaseModel], told: set[type[BaseModel]]) -> Iterator[str]:
    """The section of one mapping, then those of the mappings below it that are not ``told`` of elsewhere."""
    texts = attribute_texts(model)
    rows = [
        f"| `{field.alias or name}` | {_type(field)} | {_default(field)} | {_linked(texts[name])} |"
        for name, field in model.model_fields.items()
        if name in texts
    ]
    words = _linked(inspect.cleandoc(model.__doc__ or ""))
    yield f"## `{path}`\n\n{words}\n\n| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    below = [each for each in _mappings_below(path, model) if each[1] not in told]
    told |= {each for _, each in below}
    for its_path, each in below:
        yield from _sections(its_path, each, told)


def _mappings_below(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        models = _models(field.annotation)
        for each in models:
            # Of several mappings that one key may hold, each is told by its first key, which only it has.
            first, its_field = next(iter(each.model_fields.items()))
            mark = f"[{its_field.alias or first}]" if len(models) > 1 else ""
            mark = mark or (".*" if get_origin(field.annotation) is dict else "")
            yield f"{path}.{field.alias or name}{mark}", each


def attribute_texts(model: type[BaseModel]) -> dict[str, str]:
    """The text below each attribute of a class, in its source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for attribute, text in pairwise(body.body):
        if isinstance(attribute, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(attribute.target, ast.Name)
            texts[attribute.target.id] = " ".join(str(text.value.value).split())
    return texts


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in get_args(annotation):
        found += [model for model in _models(argument) if model not in found]
    return found


def _type(field: FieldInfo) -> str:
    """What may stand at a key, in words."""
    words = _words(field.annotation)
    bounds = {type(each).__name__: each for each in field.metadata}
    if OneOrMore in field.metadata:
        words = "text or list of texts"
    low = next((str(getattr(bounds[kind], kind.lower())) for kind in ("Ge", "Gt") if kind in bounds), None)
    high = next((str(getattr(bounds[kind], kind.lower())) for kind in ("Le", "Lt") if kind in bounds), None)
    if low and high:
        words += f", {low} to {high}"
    elif low and "Gt" in bounds:
        words += f" above {low}"
    elif low and low not in ("0", "0:00:00"):
        words += f", at least {low}"
    return words


_SIMPLE = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    timedelta: "length of time",
    datetime: "date and time",
    Path: "path",
    SecretStr: "secret",
}


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    if origin is Annotated:
        return _words(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{json.dumps(each) if isinstance(each, bool) else each}`" for each in arguments)
    if origin in (Union, UnionType):
        kinds = [each for each in arguments if each is not NoneType and not (each is int and float in arguments)]
        return " or ".join(dict.fromkeys(_words(each) for each in kinds))
    if origin is tuple:
        many = "list of" if arguments[1] is Ellipsis else str(len(arguments))
        return f"{many} {_plural(_words(arguments[0]))}"
    if origin is dict:
        values = "mappings" if get_origin(arguments[1]) is dict else _plural(_words(arguments[1]))
        return f"mapping of names to {values}"
    return "mapping" if isinstance(annotation, type) and issubclass(annotation, BaseModel) else str(annotation)


def _plural(words: str) -> str:
    return words if "`" in words else " or ".join(f"{word}s" for word in words.split(" or "))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default_factory is not None:
        return ""
    value = field.default
    if isinstance(value, BaseModel):
        return "each default below"
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, timedelta):
        return f"`{say_duration(value)}`" if value else "`0s`"
    text = value if isinstance(value, str) else json.dumps(list(value) if isinstance(value, tuple) else value)
    return f"`{text}`"


# --- settings

_SETTINGS = """# Settings

Every variable that geo_assets reads, from the environment or from `.env` beside `dagster.yaml`; the environment
wins. None is required, and a variable without a value counts as not set. Copy `.env.example`, which has them in
this order. A secret is shown in no log, run, or message.
"""


def settings_page() -> str:
    """The comments of .env.example with the variables that each is of."""
    fields = {str(field.alias): field for field in Settings.model_fields.values()}
    parts = [_SETTINGS]
    # The first paragraph is of the file itself.
    for paragraph in (CHECKOUT / ".env.example").read_text("utf-8").split("\n\n")[1:]:
        lines = paragraph.strip().splitlines()
        words = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
        names = [line.partition("=")[0] for line in lines if not line.startswith("#")]
        rows = [f"- `{name}`: {_type(fields[name])}{_by_default(fields[name])}" for name in names]
        parts.append(f"{_linked(words)}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _by_default(field: FieldInfo) -> str:
    default = _default(field)
    return f"; default {default}" if default else ""


# --- errors

_ERRORS = """# Error codes

Each error has a stable code, which the ledger, logs and answers of the API show, and a remedy.
**Permanent**: trying again changes nothing until the file, the settings or the code changes; a blob with such an error
is quarantined for its present version, with its reason (`geo-assets quarantine list`, `explain`, `replay`), and a
new version is tried automatically. **Transient**: the same may succeed later; the next try goes on automatically,
tick or run, and no blob is blamed.

If a message has a remedy of its own, that one counts.
"""
# Modules that define errors; importing them makes their classes known.
_ERROR_MODULES = {
    "geo_assets.errors": "Blobs, runs and what they stand on",
    "geo_assets.vectors.errors": "Vector files",
    "geo_assets.api.problems": "Answers of the API",
    "geo_assets.sensors.blob": "Elsewhere",
    "geo_assets.resources.database": "Elsewhere",
    "geo_assets.celery.executor": "Elsewhere",
    "geo_assets.cli.demo": "Elsewhere",
    "geo_assets.cli.local_services": "Elsewhere",
}


def error_classes() -> list[type[GeoAssetsError]]:
    """Every error with a code of its own in these modules, in the order of its definition."""
    return [
        value
        for module in _ERROR_MODULES
        for value in vars(import_module(module)).values()
        if isinstance(value, type) and issubclass(value, GeoAssetsError) and value.__module__ == module
        if "code" in vars(value) and value not in (GeoAssetsError, PermanentError, TransientError)
    ]


def errors_page() -> str:
    """A table for each place where errors are defined."""
    classes = error_classes()
    parts = [_ERRORS]
    for title in dict.fromkeys(_ERROR_MODULES.values()):
        of_title = [kind for kind in classes if _ERROR_MODULES[kind.__module__] == title]
        for words in ("permanent", "transient", ""):
            if kinds := [kind for kind in of_title if _branch(kind) == words]:
                parts.append(_error_table(f"{title}: {words}" if words else title, kinds))
    return "\n".join(parts)


def _branch(kind: type[GeoAssetsError]) -> str:
    return "permanent" if issubclass(kind, PermanentError) else "transient" if issubclass(kind, TransientError) else ""


def _error_table(title: str, kinds: list[type[GeoAssetsError]]) -> str:
    is_api = kinds[0].__module__ == "geo_assets.api.problems"
    head = "| code | meaning | remedy |\n|---|---|---|"
    if is_api:
        head = "| code | status | meaning | remedy |\n|---|---|---|---|"
    rows = []
    for kind in kinds:
        meaning = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
        status = f" {status_of(kind(''))} |" if is_api else ""
        remedy = kind.remedy or "The message says it."
        rows.append(f'| <a id="{kind.code}"></a>`{kind.code}` |{status} {_cell(meaning)} | {_cell(remedy)} |')
    return f"## {title}\n\n{head}\n" + "\n".join(rows) + "\n"


# --- commands

_COMMANDS = """# Commands

`geo-assets` and its subcommands, as `--help` shows them, with the environment active (`source .venv/bin/activate`).
`--json` is for scripts. If a command fails, it exits with 1, and the message has a [code](errors.md) and a remedy.

`make` alone lists the commands of the checkout: set-up, demo, tests, documentation.
"""


def commands_page() -> str:
    """Each command with its usage, its help and its options."""
    return "\n".join([_COMMANDS, *_commands(main, click.Context(main, info_name="geo-assets"))])


def _commands(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _commands(below, click.Context(below, info_name=name, parent=context))
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    help_text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    parts = [f"## {context.command_path}\n", f"```text\n{usage}\n```\n", f"{_linked(help_text)}\n"]
    options = [each for each in command.params if isinstance(each, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    rows = [f"| `{words}` | {_cell(help_words)} |" for words, help_words in records]
    if rows:
        parts.append("| option | |\n|---|---|\n" + "\n".join(rows) + "\n")
    yield "\n".join(parts)


# --- writing

PAGES: dict[str, Callable[[], str]] = {
    "sources.md": sources_page,
    "settings.md": settings_page,
    "errors.md": errors_page,
    "commands.md": commands_page,
}


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return _linked(text).replace("|", "\\|").replace("\n", " ")


def _linked(text: str) -> str:
    """The text, where the name of a page of the documentation is a link to it."""
    return _PAGE.sub(lambda match: f"[{match[0]}](../{match[1]})", text)


def write_pages(folder: Path = FOLDER) -> None:
    """Write each page that is not as it should be."""
    for name, make in PAGES.items():
        title, _, rest = make().partition("\n")
        text = f"{title}\n\n{_MADE}\n{rest}".rstrip() + "\n"
        page = folder / name
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")


if __name__ == "__main__":
    write_pages()
