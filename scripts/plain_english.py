"""Check the prose that people read: one word for one thing, none of the former jargon, and messages that are sentences.

`python -m scripts.plain_english` lists each place with what to write instead, and exits with 1 if there is one. Words
are checked everywhere, former terms in pages, help and messages, which docstrings are not.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
INSTEAD = {
    r"mend(s|ed|ing)?": "fix, correct",
    r"anew": "again, rebuilt",
    r"(goes|go) without": "cannot be combined with, does without",
    r"states? no": "has no",
    r"amid": "during",
    r"no https address": "not an https URL",
    r"that (is|are) none": "is not valid, is not one",
    r", for (its|their) (blobs?|items?)": "because",
    r"so many": "this many, N",
    r"(told|tells?) of": "reported, reports",
    r"where (it|they) lies?": "where it is",
    r"stands": "is, is active",
    r"(becomes?|became|come|comes|came) of": "the result, what happens to",
    r"by (itself|themselves)": "automatically, individually, alone",
    r"(is|are) whole": "is complete",
    r"be rid of": "remove",
    r"is there already": "already exists",
    r"take (it |them |this )?away": "remove",
    r"a row a blob": "one row per blob",
    r"where one does not": "if one does not",
    r"awaits? (its|their) turn": "is pending",
    r"the next tick goes on": "continues in the next tick",
    r"let(s)? go": "approve, remove, release",
    r"asks? for (one|a) run": "launches one run",
    r"looks at": "checks",
    r"(no|some|any)body": "name who does it",
    r"drawn at random": "random",
    r"of no blob": "have no blob",
    r"(is|are) away": "is unavailable",
    r"(does|do) not serve": "is unavailable",
    r"(was|were|is|are) given up": "dead-lettered",
    r"see what there is": "list them with",
    r"no place on (the globe|earth)": "cannot be placed on the Earth",
    r"silver places?": "output location",
    r"wants? a key": "requires an API key",
    r"with a reason why not": "quarantined",
    r"who may what": "permissions",
    r"oftener": "more often",
}
# Former names of things that have another now; keys, commands and codes keep theirs, and stand in backquotes.
TERMS = {
    r"withdraw(s|n|ing|al|als)?": "remove",
    r"consent(s|ed)?": "approve, approval",
    r"(?<!assets\x20)(?<![(/])census": "consistency check",
    r"grace(?! period|:)": "grace period",
    r"(?<!/)relist(s|ed|ing)?(?!:)": "full listing, full listing interval",
    r"look(s|ed|ing)? at": "check",
    r"(takes?|took|taken) in messages?": "receive",
    r"bronze (container|folder|file)s?": "input",
}
# A message may begin with what it is about: a key, an option, a file's name, or text in backquotes.
_SENTENCE = re.compile(r"[A-Z0-9`{./\-]|[a-z0-9]+([._-][a-z0-9]+)+\b|[a-z]+://|az:")
_ENDS = (".", "!", "?", ":", ")", "}")


def _compiled(words: Mapping[str, str]) -> dict[re.Pattern[str], str]:
    """Return the patterns of words, which may be on two lines; one that begins with a comma follows a word."""
    return {
        re.compile(rf"(?:(?<![\w`-])|(?=,))(?:{words})(?![\w`-])".replace(" ", r"\s+"), re.IGNORECASE): instead
        for words, instead in words.items()
    }


_EVERYWHERE, _SHOWN = _compiled(INSTEAD), _compiled(INSTEAD | TERMS)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that people read, with its file and first line; ``is_shown`` to users, as docstrings are not."""

    file: Path
    line: int
    text: str
    is_shown: bool = True


def prose(modules: Mapping[Path, ast.Module]) -> Iterator[Text]:
    """Yield pages, strings of the package and comments of settings."""
    pages = [
        *(PROJECT / "docs").rglob("*.md"),
        *(PROJECT / "geo_assets" / "api").glob("*/*.html"),
        *(PROJECT / "geo_assets" / "api" / "static").glob("*.js"),
        PROJECT / "README.md",
        PROJECT / ".env.example",
        PROJECT / "sources.yaml",
    ]
    for page in pages:
        if "decisions" not in page.parts:
            yield Text(page, 1, page.read_text())
    for file, module in modules.items():
        nodes = list(ast.walk(module))
        docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                is_shown = node not in docstrings and "migrations" not in file.parts
                yield Text(file, node.lineno, node.value, is_shown)


def words_to_replace(modules: Mapping[Path, ast.Module]) -> Iterator[str]:
    """Yield a line for each word to replace: its place, the word, and what to write instead."""
    for each in prose(modules):
        for pattern, instead in (_SHOWN if each.is_shown else _EVERYWHERE).items():
            for match in pattern.finditer(each.text):
                line = each.line + each.text.count("\n", 0, match.start())
                yield f"{each.file.relative_to(PROJECT)}:{line}: {match[0]!r}: write {instead!r}"


def error_names(modules: Mapping[Path, ast.Module]) -> set[str]:
    """Return the names of the classes below GeoAssetsError."""
    classes = [node for module in modules.values() for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    names = {"GeoAssetsError"}
    while further := {
        each.name for each in classes if each.name not in names and names & {ast.unparse(base) for base in each.bases}
    }:
        names |= further
    return names


def messages_to_correct(modules: Mapping[Path, ast.Module]) -> Iterator[str]:
    """Yield a line for each message of an error that begins in lower case, or does not end as a sentence does."""
    names = error_names(modules)
    for file, module in modules.items():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in names and node.args:
                message = _message(node.args[0])
                where = f"{file.relative_to(PROJECT)}:{node.lineno}"
                if message and not _SENTENCE.match(message):
                    yield f"{where}: {message[:60]!r}: begin with a capital letter"
                if message and not message.endswith(_ENDS):
                    yield f"{where}: {message[-60:]!r}: end with a full stop"


def _message(node: ast.expr) -> str:
    """Return the text of a message, with {} for each value; "" if it is not written there."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def findings() -> list[str]:
    """Return a line for each place to correct."""
    modules = {file: ast.parse(file.read_text()) for file in sorted((PROJECT / "geo_assets").rglob("*.py"))}
    return sorted([*words_to_replace(modules), *messages_to_correct(modules)])


if __name__ == "__main__":
    said = findings()
    print("\n".join(said))  # noqa: T201
    sys.exit(1 if said else 0)
