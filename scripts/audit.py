"""Known vulnerabilities of the packages that constraints.txt pins, and of the npm packages that the map is drawn with.

    audit.py          status 1 where one is known that a newer version mends
    audit.py --warn   says so, status 0: a build does not turn red by itself on the day one is published

Advisories come from OSV (by pip-audit) and npm's registry. What does not answer in time is skipped, and says so.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
SECONDS = 300
SECONDS_OF_WARNING = 60


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One that is known of a package, and what mends it: "" where nothing does yet."""

    package: str
    name: str
    mended_by: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Look both up, print what is known; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warn", action="store_true", help="report, and end with status 0")
    parser.add_argument("--osv-url", help="where OSV answers, if not where pip-audit knows it")
    parser.add_argument("--pins", type=Path, default=PROJECT / "constraints.txt", help="the file of pins")
    parser.add_argument("--npm-folder", type=Path, default=PROJECT, help="the folder with node_modules")
    options = parser.parse_args(arguments)
    seconds = SECONDS_OF_WARNING if options.warn else SECONDS
    found: list[Vulnerability] = []
    looks: dict[str, Callable[[], list[Vulnerability]]] = {
        "Python packages": lambda: look_at_pins(options.pins, osv_url=options.osv_url, seconds=seconds),
        "npm packages": lambda: look_at_npm(options.npm_folder, seconds=seconds),
    }
    for what, look in looks.items():
        try:
            known = look()
        except Skipped as skipped:
            say(f"{what}: skipped, {skipped}")
            continue
        say(f"{what}: {len(known)} known vulnerabilities")
        found += known
    for each in found:
        mend = f"mended by {each.mended_by}" if each.mended_by else "nothing mends it yet"
        say(f"{'warning: ' if options.warn else ''}{each.package}: {each.name}, {mend}")
    return int(not options.warn and any(each.mended_by for each in found))


class Skipped(Exception):
    """Nobody could be asked."""


def look_at_pins(pins: Path, *, osv_url: str | None, seconds: float) -> list[Vulnerability]:
    """What OSV knows of the pins. Raises Skipped."""
    command = [str(Path(sys.executable).parent / "pip-audit"), "--requirement", str(pins), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--timeout", "10", "--progress-spinner", "off", "--format", "json"]
    answer = _ask([*command, *(["--osv-url", osv_url] if osv_url else [])], seconds=seconds)
    return [
        Vulnerability(f"{each['name']} {each['version']}", known["id"], ", ".join(known["fix_versions"]))
        for each in answer["dependencies"]
        for known in each.get("vulns", ())
    ]


def look_at_npm(folder: Path, *, seconds: float) -> list[Vulnerability]:
    """What npm's registry knows of the map's packages that lie in ``folder``. Raises Skipped."""
    if not (folder / "node_modules").is_dir():
        raise Skipped("they are not installed here")
    answer = _ask(["npm", "audit", "--json", "--no-package-lock", "--omit=dev"], seconds=seconds, folder=folder)
    return [
        Vulnerability(name, known["severity"], "a newer version" if known["fixAvailable"] else "")
        for name, known in answer["vulnerabilities"].items()
    ]


def _ask(command: Sequence[str], *, seconds: float, folder: Path = PROJECT) -> Any:
    """The document that a program prints; both end with a status for what they found, too."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"no answer within {seconds:.0f} s") from error
    except FileNotFoundError as error:
        raise Skipped(f"{command[0]} is not installed") from error
    try:
        document = json.loads(done.stdout)
    except ValueError as error:
        raise Skipped("the advisory service does not answer") from error
    if "error" in document:
        raise Skipped("the advisory service does not answer")
    return document


def say(text: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"audit: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
