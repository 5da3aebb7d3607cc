"""Check the prose that people read: no words of the project's former jargon in messages, help, docs and docstrings.

`python -m scripts.plain_english` lists each place with the word to use instead, and exits with 1 if there is one.
"""

import ast
import re
import sys
from collections.abc import Iterator
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
# Words may be on two lines; a pattern that begins with a comma follows a word.
_PATTERNS = {pattern.replace(" ", r"\s+"): instead for pattern, instead in INSTEAD.items()}
_ANY = re.compile("|".join(rf"(?:(?<![\w`-])|(?=,))(?:{pattern})(?![\w`-])" for pattern in _PATTERNS), re.IGNORECASE)


def prose() -> Iterator[tuple[Path, int, str]]:
    """Each text that people read, with its file and first line: pages, strings of the package, comments of settings."""
    pages = [
        *(PROJECT / "docs").rglob("*.md"),
        PROJECT / "README.md",
        PROJECT / ".env.example",
        PROJECT / "sources.yaml",
    ]
    for page in pages:
        if "decisions" not in page.parts:
            yield page, 1, page.read_text()
    for module in (PROJECT / "geo_assets").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                yield module, node.lineno, node.value


def findings() -> list[str]:
    """A line for each word to replace: its place, the word, and what to write instead."""
    found = []
    for file, first, text in prose():
        for match in _ANY.finditer(text):
            line = first + text.count("\n", 0, match.start())
            instead = next(
                word for pattern, word in _PATTERNS.items() if re.fullmatch(pattern, match[0], re.IGNORECASE)
            )
            found.append(f"{file.relative_to(PROJECT)}:{line}: {match[0]!r}: write {instead!r}")
    return sorted(found)


if __name__ == "__main__":
    said = findings()
    print("\n".join(said))  # noqa: T201
    sys.exit(1 if said else 0)
