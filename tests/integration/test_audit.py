"""The audit of dependencies: pip-audit and npm themselves, asking stand-ins of the advisory services."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.services import PROJECT, free_port

PINS = "affine==3.0.1\nclick==8.1.0\n"


class _Advisories(BaseHTTPRequestHandler):
    """Knows of one vulnerability of click, and one of maplibre-gl."""

    fixed: list[dict[str, str]] = []  # noqa: RUF012 (of the class: a handler is made a request)
    asked: list[Any] = []  # noqa: RUF012 (likewise)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            answer: dict[str, Any] = {"maplibre-gl": [self.of_npm()]}
        else:
            asked = json.loads(body)
            self.asked.append(asked["package"]["name"])
            answer = {"vulns": [self.of_pypi()]} if asked["package"]["name"] == "click" else {}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def of_pypi(self) -> dict[str, Any]:
        """As OSV says it."""
        events = [{"introduced": "0"}, *self.fixed]
        affected = {
            "package": {"name": "click", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        return {
            "id": "TEST-2026-1",
            "details": "For tests.",
            "affected": [affected],
            "modified": "2026-01-01T00:00:00Z",
        }

    def of_npm(self) -> dict[str, Any]:
        """As npm's registry says it."""
        return {
            "id": 1,
            "url": "https://example.org/1",
            "title": "For tests",
            "severity": "high",
            "vulnerable_versions": "<99.0.0",
            "cwe": [],
            "cvss": {"score": 0, "vectorString": None},
        }

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Say nothing."""


@pytest.fixture
def advisories() -> Iterator[str]:
    """The address of such a service."""
    _Advisories.fixed, _Advisories.asked = [{"fixed": "8.1.1"}], []
    server = HTTPServer(("127.0.0.1", 0), _Advisories)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def audit(tmp_path: Path, *arguments: str, registry: str = "http://127.0.0.1:1") -> "subprocess.CompletedProcess[str]":
    """Run the audit over two pins, by default without npm packages."""
    (tmp_path / "pins.txt").write_text(PINS)
    command = [sys.executable, str(PROJECT / "scripts" / "audit.py"), "--pins", str(tmp_path / "pins.txt")]
    if "--npm-folder" not in arguments:
        command += ["--npm-folder", str(tmp_path)]
    environment = {**os.environ, "npm_config_registry": registry, "npm_config_fetch_retries": "0"}
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_what_a_newer_version_mends_fails_the_audit_and_only_warns_in_a_build(advisories: str, tmp_path: Path) -> None:
    failed = audit(tmp_path, "--osv-url", advisories)
    assert failed.returncode == 1, failed.stderr
    assert "audit: click 8.1.0: TEST-2026-1, mended by 8.1.1" in failed.stdout
    assert sorted(_Advisories.asked) == ["affine", "click"]
    warned = audit(tmp_path, "--osv-url", advisories, "--warn")
    assert warned.returncode == 0
    assert "audit: warning: click 8.1.0: TEST-2026-1, mended by 8.1.1" in warned.stdout


def test_what_nothing_mends_is_told_and_fails_nothing(advisories: str, tmp_path: Path) -> None:
    _Advisories.fixed = []
    told = audit(tmp_path, "--osv-url", advisories)
    assert told.returncode == 0
    assert "click 8.1.0: TEST-2026-1, nothing mends it yet" in told.stdout


def test_the_maps_packages_are_audited_by_npm(advisories: str, tmp_path: Path) -> None:
    found = audit(tmp_path, "--osv-url", advisories, "--npm-folder", str(PROJECT), registry=advisories)
    assert "audit: npm packages: 1 known vulnerabilities" in found.stdout, found.stdout
    assert "audit: maplibre-gl: high, nothing mends it yet" in found.stdout


def test_a_service_that_does_not_answer_is_skipped_with_a_message(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    skipped = audit(tmp_path, "--osv-url", nowhere, "--npm-folder", str(PROJECT), registry=nowhere)
    assert skipped.returncode == 0
    assert "Python packages: skipped, the advisory service does not answer" in skipped.stdout
    assert "npm packages: skipped, the advisory service does not answer" in skipped.stdout
