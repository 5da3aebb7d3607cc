"""Names, messages and times as they are shown: one function for each place where foreign text is read by people.

Here: text that strangers chose (names of blobs, layers, properties; messages that quote them), made harmless for a line
of a log, a terminal, Markdown and a chat; lengths of time in words; instants as STAC writes them. Not here: JSON, which
has its own escapes and stays exact, the markup of the command line's own library (`geo_assets.cli.console`), and
reading dates (`geo_assets.stac.acquisition`).
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

MOST_CHARACTERS = 4_000
# Characters that nobody sees, but that move, hide or turn round what stands beside them.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_JOINER = "\N{WORD JOINER}"
# What is made a link or a mention though nothing marks it as one: addresses, e-mail, and Markdown that a joiner breaks.
_LINKED = re.compile(r"(:(?=//))|(www(?=\.))|(@)|(\](?=[(\[:]))|(!(?=\[))", re.IGNORECASE)
_NOT_PLAIN = re.compile(r"[^\w\s\u0080-\U0010ffff]|_")


def one_line(text: object, *, most: int = MOST_CHARACTERS) -> str:
    """The text on one line of at most ``most`` characters: what is not seen is written as an escape, such as \\x1b."""
    said = str(text)
    cut = said if len(said) <= most else f"{said[: most - 1]}…"
    return "".join(_visible(each) for each in cut)


def lines(text: object, *, most: int = 100 * MOST_CHARACTERS) -> str:
    """The text with its lines, and all else as `one_line` has it."""
    said = str(text)[:most]
    return "\n".join(one_line(line, most=most) for line in said.split("\n"))


def markdown(text: object, *, most: int = MOST_CHARACTERS) -> str:
    """The text for Markdown (also a cell of a table), of which nothing is markup, an address or an image.

    References to characters are no markup, whatever they stand for; bare addresses, which some renderers link even
    so, are broken by a joiner that is not seen.
    """
    unlinked = _LINKED.sub(lambda found: found[0] + _JOINER, one_line(text, most=most))
    return _NOT_PLAIN.sub(lambda found: f"&#{ord(found[0])};", unlinked)


def chat(text: object) -> str:
    """The text on one line for a chat such as Slack or Teams: mentions no person, links nowhere, shows no image."""
    return html.escape(_LINKED.sub(lambda found: found[0] + _JOINER, one_line(text)), quote=False)


@dataclass(slots=True)
class MarkdownTable:
    """A table in Markdown, whose cells are escaped here: callers need not think of it.

    ``columns`` are names by which it is read, each aligned right where it starts with `#`.
    """

    columns: Sequence[str]
    rows: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row. Raises ValueError unless it has a cell for each column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(_row([markdown(cell) for cell in cells]))

    def __str__(self) -> str:
        head = _row([markdown(name.removeprefix("#")) for name in self.columns])
        rule = "|".join("---:" if name.startswith("#") else "---" for name in self.columns)
        return "\n".join([head, f"|{rule}|", *self.rows])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN or character == _JOINER:
        return character
    if character in "\t\n":
        return {"\t": " ", "\n": "\\n"}[character]
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"


_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def say_duration(length: timedelta) -> str:
    """The length in its largest unit and the next: 2 days 3 hours, 5 minutes, 0 seconds."""
    left, words = max(0, round(length.total_seconds())), list[str]()
    for unit, seconds in _UNITS:
        number, left = divmod(left, seconds)
        if number or (unit == "second" and not words):
            words.append(f"{number} {unit}" + ("" if number == 1 else "s"))
        elif words:
            break
        if len(words) == 2:
            break
    return " ".join(words)


def rfc3339(instant: datetime) -> str:
    """A UTC instant as STAC writes it, with Z."""
    return instant.isoformat().replace("+00:00", "Z")
