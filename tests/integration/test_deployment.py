"""What geo_assets is deployed with, as far as it can be checked without a cluster: files, names, commands, doors."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import click
import httpx
import pytest
import yaml

from geo_assets.api.gate import parse_proxies
from geo_assets.cli.main import main
from geo_assets.settings import Settings
from tests.integration.test_cli import COMMANDS
from tests.services import PROJECT, free_port
from tests.waiting import wait_until

COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DEPLOY = PROJECT / "deploy"
KUBERNETES = ["helm/values.yaml", "helm/api.yaml", "helm/migrate.yaml"]
CONTAINER_APPS = ["container-apps/dagster.yaml", "container-apps/api.yaml"]
SETTINGS = {str(field.alias) for field in Settings.model_fields.values()}
# Those of others: Azure's SDK finds its identity by it; the images of PostgreSQL, Redis, Azurite and the proxy.
OF_OTHERS = {
    "AZURE_CLIENT_ID",
    "AZURITE_ACCOUNTS",
    "DAGSTER_PASSWORD_HASH",
    "DAGSTER_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
    "REDISCLI_AUTH",
}
SECRET = re.compile(r"PASSWORD|SECRET|KEY|TOKEN|CONNECTION_STRING|_URL|BROKER|WEBHOOKS|AUTH|ACCOUNTS$")
PROGRAMS = ("geo-assets", "dagster", "dagster-daemon", "dagster-webserver", "celery")


def documents(name: str) -> list[Any]:
    """The YAML documents of a file below deploy/."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def walk(document: Any) -> list[Any]:
    """A document and all that is in it."""
    below = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return [document, *(each for child in below for each in walk(child))]


def commands() -> list[list[str]]:
    """Each command line of ours that a file to deploy with runs, health checks too."""
    found = [[*map(str, SERVICES[name].get("command", ()))] for name in SERVICES]
    found += [
        [*map(str, each["healthcheck"].get("test", ()))][1:] for each in SERVICES.values() if "healthcheck" in each
    ]
    for name in (*KUBERNETES, *CONTAINER_APPS):
        for node in walk(documents(name)):
            if isinstance(node, dict):
                found += [[*map(str, node[key])] for key in ("command", "args") if isinstance(node.get(key), list)]
                if "dagsterApiGrpcArgs" in node:
                    found.append(["dagster", "api", "grpc", *node["dagsterApiGrpcArgs"]])
    dockerfile = (PROJECT / "Dockerfile").read_text()
    found += [yaml.safe_load(line.partition("CMD")[2]) for line in dockerfile.splitlines() if "CMD [" in line]
    found = [words_of(each) for each in found]
    return [each for each in found if each and each[0] in PROGRAMS]


def words_of(command: list[str]) -> list[str]:
    """The words of a command line, which a shell is given as one."""
    return command[0].replace("$$HOSTNAME", "host").split() if len(command) == 1 else command


def test_only_the_proxy_can_be_reached_and_only_from_this_host_by_default() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["proxy"]
    (port,) = published["proxy"]
    assert port.startswith("${PROXY_ADDRESS:-127.0.0.1}:")
    assert not [name for name, service in SERVICES.items() if service.get("network_mode") or service.get("privileged")]
    assert SERVICES["proxy"]["networks"] == ["front"]
    assert all("front" not in SERVICES[name]["networks"] for name in ("database", "redis", "azurite", "code", "daemon"))


def test_no_secret_stands_in_a_file() -> None:
    """Each is a variable without a default; where a service cannot do without it, compose refuses to start."""
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable) and variable not in ("GEO_ASSETS_DAGSTER_URL",):
                assert re.search(r"\$\{\w+:[-?][^}]*\}", value), (name, variable)
                assert not re.search(r"\$\{\w+:-[^}]", value), (name, variable)
    passwords = {"POSTGRES_PASSWORD", "PIPELINE_PASSWORD", "API_DATABASE_PASSWORD"}
    needed = {*passwords, "DAGSTER_USER", "DAGSTER_PASSWORD_HASH", "GEO_ASSETS_API_KEYS"}
    assert set(re.findall(r"(?<!\$)\$\{(\w+):\?", (PROJECT / "compose.yaml").read_text())) == needed
    example = dict(variables_of(DEPLOY / "compose" / "example.env"))
    assert {name: example[name].strip("'") for name in needed} == dict.fromkeys(needed, "")
    for name in (*KUBERNETES, *CONTAINER_APPS):
        for node in walk(documents(name)):
            if isinstance(node, dict) and "value" in node and SECRET.search(str(node.get("name", ""))):
                raise AssertionError(f"{name}: {node['name']} is to come from a secret")


def variables_of(file: Path) -> list[tuple[str, str]]:
    """The variables that a .env file sets."""
    lines = [line for line in file.read_text().splitlines() if re.match(r"[A-Z]", line)]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def test_each_service_starts_again_and_says_how_it_is() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
        # The API's check is the image's; the migration ends by itself.
        assert "test" in service.get("healthcheck", {}) or name in ("api", "migrate"), name
        for needed, condition in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed == "migrate" else "service_healthy"
            assert condition == {"condition": wanted}, (name, needed)
    assert "HEALTHCHECK" in (PROJECT / "Dockerfile").read_text()


def test_each_service_of_ours_has_no_privilege_and_a_read_only_disk() -> None:
    ours = {name: each for name, each in SERVICES.items() if "GEO_ASSETS_IMAGE" in each["image"]}
    assert set(ours) == {"api", "code", "daemon", "migrate", "webserver", "worker"}
    for name, service in ours.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name


def test_the_image_runs_as_an_ordinary_user_by_number_with_pinned_packages() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    final = dockerfile[dockerfile.rindex("FROM ") :]
    users = re.findall(r"^USER (\S+)$", final, re.MULTILINE)
    assert users
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", users[-1])
    assert "-c constraints.txt" in dockerfile
    assert not re.search(r"^(ARG|ENV) .*(PASSWORD|SECRET|KEY|TOKEN)", dockerfile, re.MULTILINE)
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((PROJECT / name).exists() for name in copied)


def test_each_image_has_a_tag_that_names_a_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    for name in (*KUBERNETES, *CONTAINER_APPS):
        images += [
            node["image"]
            for node in walk(documents(name))
            if isinstance(node, dict) and isinstance(node.get("image"), str)
        ]
    assert len(images) > 15
    for image in images:
        assert re.search(r":\d[\w.-]*\}?$", image), image


@cache
def help_of(program: str, *words: str) -> str:
    """What a program beside this Python says of itself."""
    command = [str(Path(sys.executable).parent / program), *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_each_command_is_there_with_its_options(command: list[str]) -> None:
    """By its own help: nothing is started."""
    program, *rest = command
    if program == "geo-assets":
        words = [word for word in rest if re.fullmatch(r"[a-z]+", word)]
        assert words in COMMANDS
        context = click.Context(main)
        found: click.Command = main
        for word in words:
            found = found.get_command(context, word)  # type: ignore[attr-defined]
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options
        return
    words = [word for word in rest if re.fullmatch(r"[a-z][a-z-]+", word)]
    if program == "dagster":
        words = words[:2]
    elif program == "dagster-daemon":
        words = words[:1]
    elif program == "celery":
        words = [each for each in ("worker", "inspect") if each in rest]
    else:
        words = []
    help_text = help_of(program, *words)
    for option in (word for word in rest if word.startswith("--")):
        assert re.search(rf"{option}\b", help_text), option


def test_the_api_believes_no_proxy_but_that_of_its_own_network() -> None:
    served = [command for command in commands() if "--behind-proxy" in command]
    assert len(served) == 3, "compose, Helm and Container Apps"
    for command in served:
        named = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", command[command.index("--behind-proxy") + 1])
        proxies = parse_proxies(named)
        for stranger in ("203.0.113.7", "2001:db8::7", "192.168.1.1", "127.0.0.1"):
            assert not proxies.trust(stranger), command
    (subnet,) = (each["subnet"] for each in COMPOSE["networks"]["front"]["ipam"]["config"])
    assert subnet in SERVICES["api"]["command"]


def test_each_variable_is_a_setting_or_one_of_another_program() -> None:
    used = {name for service in SERVICES.values() for name in service.get("environment", {})}
    for name in (*KUBERNETES, *CONTAINER_APPS):
        for node in walk(documents(name)):
            if isinstance(node, dict) and isinstance(node.get("env"), list):
                used |= {each["name"] for each in node["env"]}
            elif isinstance(node, dict) and isinstance(node.get("env"), dict):
                used |= set(node["env"])
    assert used - SETTINGS <= OF_OTHERS
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (PROJECT / "compose.yaml").read_text()))
    explained = {
        name
        for file in (DEPLOY / "compose" / "example.env", PROJECT / ".env.example")
        for name, _ in variables_of(file)
    }
    assert asked <= explained


def test_what_compose_mounts_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) else volume.partition(":")[0]
            if source.startswith("./"):
                assert (PROJECT / source).exists(), source
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"], source
    workspace = documents("compose/workspace.yaml")[0]["load_from"][0]["grpc_server"]
    assert workspace["host"] in SERVICES
    assert str(workspace["port"]) in SERVICES["code"]["command"]


def test_only_the_migration_has_the_owners_password_and_the_api_only_its_own() -> None:
    for name, service in SERVICES.items():
        said = str(service.get("environment", {}))
        assert ("POSTGRES_PASSWORD" in said) == (name in ("migrate", "database")), name
        assert ("API_DATABASE_PASSWORD" in said) == (name in ("migrate", "api")), name
    assert "PIPELINE_PASSWORD" not in str(SERVICES["api"])


def test_compose_itself_takes_the_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed here: compose.yaml is checked by the other tests only")
    file = tmp_path / ".env"
    file.write_text(
        "POSTGRES_PASSWORD=a\nPIPELINE_PASSWORD=a\nAPI_DATABASE_PASSWORD=a\nDAGSTER_USER=a\nDAGSTER_PASSWORD_HASH=a\nGEO_ASSETS_API_KEYS=a\n"
    )
    command = [docker, "compose", "--env-file", str(file), "config", "--quiet"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class _Backend(BaseHTTPRequestHandler):
    """Answers with what it was asked, and by which credential."""

    def do_GET(self) -> None:
        body = f"{self.server.server_port} {self.path} {self.headers.get('authorization')}".encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Say nothing."""


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[str, int, int]]:
    """The address of Caddy with our file, and the ports of what is behind it: web server and API."""
    caddy = shutil.which("caddy")
    version = subprocess.run([caddy, "version"], capture_output=True, text=True, check=True).stdout if caddy else "v0.0"
    if caddy is None or tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 8):
        pytest.skip("Caddy 2.8 or newer is not installed here: the proxy's file is not tried out")
    backends = [HTTPServer(("127.0.0.1", 0), _Backend) for _ in range(2)]
    for backend in backends:
        Thread(target=backend.serve_forever, daemon=True).start()
    web, api = (backend.server_port for backend in backends)
    port, health = free_port(), free_port()
    text = (DEPLOY / "proxy" / "Caddyfile").read_text()
    for here, there in {
        "\n:8080": f"\nhttp://127.0.0.1:{port}",
        "127.0.0.1:8081": f"127.0.0.1:{health}",
        "webserver:3000": f"127.0.0.1:{web}",
        "api:8000": f"127.0.0.1:{api}",
    }.items():
        assert here in text
        text = text.replace(here, there)
    (tmp_path / "Caddyfile").write_text(text)
    hashed = subprocess.run(
        [caddy, "hash-password", "--plaintext", "the password"], capture_output=True, text=True, check=True
    )
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "DAGSTER_USER": "ops",
        "DAGSTER_PASSWORD_HASH": hashed.stdout.strip(),
    }
    command = [caddy, "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{health}/"), "Caddy answers")
        yield f"http://127.0.0.1:{port}", web, api
    finally:
        process.terminate()
        process.wait(timeout=20)
        for backend in backends:
            backend.shutdown()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 204
    except httpx.HTTPError:
        return False


def test_the_proxy_asks_for_a_password_before_dagster_and_leaves_the_api_to_its_keys(
    proxied: tuple[str, int, int],
) -> None:
    url, web, api = proxied
    for path in (
        "/dagster",
        "/dagster/graphql",
        "/dagster/report_asset_materialization/a",
        "/%64agster/graphql",
        "//dagster/",
    ):
        answer = httpx.get(url + path)
        assert answer.status_code == 401 or answer.text.startswith(f"{api} "), path
        assert httpx.get(url + path, auth=("ops", "another")).text.partition(" ")[0] != str(web)
    answer = httpx.get(f"{url}/dagster/graphql", auth=("ops", "the password"))
    assert answer.text == f"{web} /dagster/graphql None"
    answer = httpx.get(f"{url}/stac/search", headers={"Authorization": "Bearer key"})
    assert answer.text == f"{api} /stac/search Bearer key"
