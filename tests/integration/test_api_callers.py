"""Who calls the API and by which name: proxies, guessed keys, other origins' pages, foreign hosts, tokens.

Here: what is decided of a request before any part of the API sees it, over real sockets. Not here: what a scope opens
(`test_api_security`), what pages load in a browser (`test_api_pages`).
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from geo_assets.api.gate import network_of, parse_proxies
from geo_assets.cli.main import main
from geo_assets.errors import InvalidConfiguration
from geo_assets.settings import Settings
from tests.api_server import KEYS, bearer, served, settings_of, with_keys
from tests.pipeline import Pipeline
from tests.token_issuer import AUDIENCE, Issuer

pytestmark = pytest.mark.attack

PAGE = {"Origin": "https://maps.example"}
PREFLIGHT = {**PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
PROXY = "127.0.0.1,10.0.0.0/8,2001:db8:aaaa::/48"
ME = "203.0.113.7"


@pytest.fixture(scope="module")
def place(module_pipeline: Pipeline) -> tuple[str, Path]:
    """The URL of a database, and a sources.yaml."""
    module_pipeline.declare("file:blobs")
    return module_pipeline.database_url, module_pipeline.sources_path


@pytest.fixture(scope="module")
def keyed(place: tuple[str, Path]) -> Iterator[httpx.Client]:
    """An API with a key a scope, behind a proxy on this machine; who guesses has an address of its own."""
    with served(settings_of(*place, api_keys=with_keys()), behind_proxy=PROXY) as client:
        yield client


@pytest.fixture(scope="module")
def open_here(place: tuple[str, Path]) -> Iterator[httpx.Client]:
    """An API without keys."""
    with served(settings_of(*place)) as client:
        yield client


def guesses(client: httpx.Client, addresses: list[str], *, count: int) -> list[int]:
    """The statuses of so many wrong keys, whose X-Forwarded-For is each of these in turn."""
    statuses = []
    for number in range(count):
        forwarded = addresses[number % len(addresses)]
        headers = {"X-API-Key": f"a-wrong-key-that-is-number-{number}", "X-Forwarded-For": forwarded}
        statuses.append(client.get("/stac/", headers=headers).status_code)
    return statuses


# --- proxies


def test_300_guesses_are_counted_by_who_sends_them_whatever_they_say_they_are(keyed: httpx.Client) -> None:
    """A proxy appends whom it was called from: all that stands further left is the caller's own invention."""
    spoofed = [f"198.51.100.{number}, {ME}" for number in range(250)]
    statuses = guesses(keyed, spoofed, count=300)
    assert (statuses[:30], set(statuses[30:])) == ([401] * 30, {429})
    assert guesses(keyed, ["203.0.113.8"], count=1) == [401], "another caller has tries of its own"


def test_a_victims_valid_key_opens_whatever_others_sent_from_its_address(keyed: httpx.Client) -> None:
    victim = "203.0.113.17"
    assert guesses(keyed, [victim], count=40)[-1] == 429
    for headers in (bearer("read"), {"X-API-Key": KEYS["read"]}):
        assert keyed.get("/stac/", headers={**headers, "X-Forwarded-For": victim}).status_code == 200
    assert guesses(keyed, [victim], count=1) == [429]


def test_addresses_of_one_ipv6_network_are_one_caller(keyed: httpx.Client) -> None:
    addresses = [f"2001:db8:1:2::{number:x}" for number in range(20)] + ["[2001:db8:1:2:ffff::1]:443"]
    assert guesses(keyed, addresses, count=42)[-1] == 429
    assert guesses(keyed, ["2001:db8:1:3::1"], count=1) == [401]


def test_who_is_no_proxy_is_not_believed(place: tuple[str, Path]) -> None:
    for behind_proxy in (None, "10.0.0.0/8"):
        with served(settings_of(*place, api_keys=with_keys()), behind_proxy=behind_proxy) as client:
            statuses = guesses(client, [f"198.51.100.{number}" for number in range(250)], count=40)
            assert statuses[-1] == 429


@pytest.mark.parametrize(
    ("peer", "hops", "caller"),
    [
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["1.1.1.1", "203.0.113.7", "10.1.2.3"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7:5123", "10.1.2.3:80"], "203.0.113.7"),
        ("127.0.0.1", ["[2001:db8::9]:443"], "2001:db8::9"),
        ("127.0.0.1", ["2001:db8::9", "2001:db8:aaaa::1"], "2001:db8::9"),
        ("127.0.0.1", ["203.0.113.7", "::ffff:10.0.0.9"], "203.0.113.7"),
        ("::ffff:127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["10.0.0.1", "10.0.0.2"], "10.0.0.1"),
        ("127.0.0.1", ["1.1.1.1", "unknown"], "127.0.0.1"),
        ("127.0.0.1", ["1.1.1.1", "unknown", "10.0.0.2"], "10.0.0.2"),
        ("127.0.0.1", ["1.1.1.1", ""], "127.0.0.1"),
        ("127.0.0.1", ["", "203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["1.1.1.1 2.2.2.2"], "127.0.0.1"),
        ("127.0.0.1", ["<script>"], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("203.0.113.7", ["1.1.1.1"], "203.0.113.7"),
    ],
)
def test_the_caller_is_the_rightmost_hop_that_is_no_believed_proxy(peer: str, hops: list[str], caller: str) -> None:
    assert parse_proxies(PROXY).caller(peer, hops) == caller


def test_callers_are_counted_by_address_or_by_64_bits_of_ipv6() -> None:
    assert network_of("203.0.113.7") == network_of("::ffff:203.0.113.7") == "203.0.113.7"
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::") == "2001:db8:1:2::/64"
    assert network_of("unix:") == network_of("") == "unknown"


@pytest.mark.parametrize("text", ["*", "0.0.0.0/0", "::/0", "10.0.0.1,*", "proxy", "10.0.0.1/8", "", ",", "10.0.0"])
def test_proxies_are_named_by_address_and_never_all_addresses(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidConfiguration):
        parse_proxies(text)
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", NOWHERE)
    refused = CliRunner().invoke(main, ["serve", "--port", "0", "--behind-proxy", text])
    assert refused.exit_code == 1
    assert "--behind-proxy" in refused.output
    assert "10.0.0.5" in refused.output, "it says what to write instead"


def test_several_headers_are_one_list(keyed: httpx.Client) -> None:
    for number in range(31):
        hops = [f"198.51.100.{number}", "203.0.113.27", "10.0.0.3"]
        headers = [("X-API-Key", f"a-wrong-key-number-{number}"), *(("X-Forwarded-For", hop) for hop in hops)]
        answer = keyed.get("/stac/", headers=headers)
    assert answer.status_code == 429


def test_links_have_the_host_that_a_believed_proxy_names_and_no_others(place: tuple[str, Path]) -> None:
    told = {"X-Forwarded-Host": "maps.example", "X-Forwarded-Proto": "https"}
    others = {"Forwarded": "host=maps.example;proto=https", "X-Forwarded-Port": "444", "X-Forwarded-Prefix": "/evil"}
    with served(settings_of(*place, api_keys=with_keys()), behind_proxy="loopback") as client:
        for part in ("/stac/", "/features/?f=json", "/raster/tileMatrixSets"):
            assert "https://maps.example/" in client.get(part, headers={**told, **bearer("read")}).text, part
        listed = {**told, "X-Forwarded-Host": "evil.example, maps.example"}
        assert "evil.example" not in client.get("/stac/", headers={**listed, **bearer("read")}).text
        broken = {**bearer("read"), "X-Forwarded-Host": "a b<script>", "X-Forwarded-Proto": "gopher"}
        assert "<script" not in client.get("/stac/", headers=broken).text
    with served(settings_of(*place, api_keys=with_keys())) as client:
        for part in ("/stac/", "/features/?f=json", "/raster/tileMatrixSets"):
            answer = client.get(part, headers={**told, **others, **bearer("read")})
            assert answer.status_code == 200
            assert not [word for word in ("maps.example", "evil", ":444") if word in answer.text]


# --- pages of other origins


def test_a_preflight_of_another_origin_is_answered_without_a_key(keyed: httpx.Client) -> None:
    for path in ("/stac/search", "/raster/collections/a/items/b/info", "/nowhere", "/api/jobs/submit/hello_world"):
        answer = keyed.options(path, headers=PREFLIGHT)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "x-api-key" in answer.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in answer.headers
        assert "x-correlation-id" not in answer.headers, "no part of the application saw it"


def test_a_page_of_another_origin_can_read_each_refusal(place: tuple[str, Path]) -> None:
    settings = settings_of(*place, api_keys=with_keys(), api_body_mb=0.001, api_requests_a_minute=8)
    statuses = set()
    with served(settings) as client:
        answers = [
            client.get("/stac/", headers={**PAGE, **bearer("read")}),
            client.get("/stac/search", headers=PAGE),
            client.post("/stac/collections", json={}, headers={**PAGE, **bearer("read")}),
            client.get("/nowhere", headers={**PAGE, **bearer("read")}),
            client.post("/stac/search", content=b"x" * 5000, headers={**PAGE, **bearer("read")}),
            *(client.get("/livez", headers={**PAGE, **bearer("write")}) for _ in range(9)),
        ]
    with served(settings_of(NOWHERE, place[1], api_keys=with_keys())) as client:
        answers.append(client.get("/stac/collections", headers={**PAGE, **bearer("read")}))
    for answer in answers:
        statuses.add(answer.status_code)
        assert answer.headers["access-control-allow-origin"] == "*", answer
        assert "access-control-allow-credentials" not in answer.headers
    assert statuses == {200, 401, 403, 404, 413, 429, 503}


BROWSER = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
FOLLOWS = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"Sec-Fetch-Site": "same-origin", **BROWSER}, 200),
        ("GET", {"Sec-Fetch-Site": "none", **FOLLOWS}, 200),
        ("GET", {"Sec-Fetch-Site": "cross-site", **FOLLOWS}, 200),
        ("GET", {"Origin": "OURS", "Sec-Fetch-Site": "same-origin"}, 200),
        ("GET", {"Sec-Fetch-Site": "cross-site", **BROWSER}, 403),
        ("GET", {"Sec-Fetch-Site": "same-site", **BROWSER}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ("GET", {"Origin": "https://attacker.example"}, 403),
        ("GET", {"Origin": "null"}, 403),
        ("GET", {"Origin": "https://127.0.0.1"}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site", **FOLLOWS}, 403),
        ("POST", {"Origin": "https://attacker.example"}, 403),
        ("OPTIONS", PREFLIGHT, 403),
    ],
)
def test_without_keys_no_page_of_another_origin_is_answered(
    open_here: httpx.Client, method: str, headers: dict[str, str], status: int
) -> None:
    ours = str(open_here.base_url).rstrip("/")
    sent = {name: ours if value == "OURS" else value for name, value in headers.items()}
    answer = open_here.request(method, "/stac/search", headers=sent, json={} if method == "POST" else None)
    assert answer.status_code == status, answer.text
    assert not [name for name in answer.headers if name.startswith("access-control-")]


# --- the names it answers to


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("attacker.example", 403),
        ("attacker.example:8000", 403),
        ("localhost.attacker.example", 403),
        ("127.0.0.1.nip.example", 403),
        ("169.254.169.254", 403),
        ("localhost@attacker.example", 403),
        ("", 403),
    ],
)
def test_without_keys_no_foreign_host_is_answered(open_here: httpx.Client, host: str, status: int) -> None:
    for path in ("/stac/", "/", "/livez", "/static/page.js"):
        assert open_here.get(path, headers={"Host": host}).status_code == status, path


def test_without_keys_two_hosts_are_none(open_here: httpx.Client) -> None:
    """A proxy and a server may each take another of them for the name."""
    for hosts in (["localhost", "attacker.example"], ["attacker.example", "localhost"]):
        lines = ["GET /livez HTTP/1.1", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
        with socket.create_connection(("127.0.0.1", open_here.base_url.port or 80), timeout=10) as connection:
            connection.sendall("\r\n".join(lines).encode())
            assert connection.recv(4096).split()[1] in (b"400", b"403")


def test_names_of_the_setting_are_answered(place: tuple[str, Path]) -> None:
    with served(settings_of(*place, api_hosts="geo.test, maps.test")) as client:
        statuses = [client.get("/stac/", headers={"Host": host}).status_code for host in ("geo.test:80", "maps.test")]
        assert statuses == [200, 200]
        assert client.get("/stac/", headers={"Host": "localhost"}).status_code == 200
        assert client.get("/stac/", headers={"Host": "other.test"}).status_code == 403
    settings = settings_of(*place, api_hosts="geo.test", api_keys=with_keys())
    with served(settings, behind_proxy="loopback") as client:
        assert client.get("/stac/", headers={"Host": "geo.test", **bearer("read")}).status_code == 200
        proxied = {"Host": "10.0.0.7:8000", "X-Forwarded-Host": "geo.test"}
        assert client.get("/stac/", headers={**proxied, **bearer("read")}).status_code == 200
        for host in ("10.0.0.7:8000", "localhost", "other.test"):
            assert client.get("/stac/", headers={"Host": host, **bearer("read")}).status_code == 403
            assert client.get("/livez", headers={"Host": host}).status_code == 200, "an orchestrator asks by address"
            assert client.get("/readyz", headers={"Host": host}).status_code == 200


def test_without_keys_nobody_is_answered_through_a_proxy(place: tuple[str, Path]) -> None:
    with served(settings_of(*place), behind_proxy="loopback") as client:
        assert client.get("/stac/").status_code == 200
        refused = client.get("/stac/", headers={"X-Forwarded-For": ME})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


# --- what browsers are told


def test_every_answer_tells_browsers_what_it_may_load_and_who_may_show_it(keyed: httpx.Client) -> None:
    read = bearer("read")
    answers = [
        keyed.get("/"),
        keyed.get("/static/page.js"),
        keyed.get("/static/none.js"),
        keyed.get("/api/docs"),
        keyed.get("/stac/api.html"),
        keyed.get("/features/", headers={**read, "Accept": "text/html"}),
        keyed.get("/raster/tileMatrixSets?f=html", headers=read),
        keyed.get("/stac/", headers=read),
        keyed.get("/stac/"),
        keyed.get("/livez"),
        keyed.get("/nowhere", headers=read),
        keyed.get("/a/../b", headers=read),
        keyed.post("/stac/collections", headers=read),
        keyed.options("/stac/", headers=PREFLIGHT),
        *(keyed.get("/stac/", headers={"X-API-Key": f"a-wrong-key-number-{number}"}) for number in range(32)),
    ]
    assert {answer.status_code for answer in answers} == {200, 401, 403, 404, 429}
    for answer in answers:
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert "geolocation=()" in headers["permissions-policy"]
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert not {"'unsafe-inline'", "'unsafe-eval'", "http:", "https:", "*"} & set(policy.split())
        is_page = headers.get("content-type", "").startswith("text/html") or "/static/" in str(answer.url)
        assert ("script-src 'self'" in policy) == is_page, answer.url


# --- tokens


@pytest.fixture
def with_tokens(place: tuple[str, Path], issuer: Issuer) -> Iterator[httpx.Client]:
    """An API that takes its tokens."""
    with served(token_settings(place, issuer)) as client:
        yield client


def token_settings(place: tuple[str, Path], issuer: Issuer, **further: Any) -> Settings:
    """The settings of an API that takes tokens of this issuer."""
    return settings_of(*place, api_oidc_issuer=issuer.url, api_oidc_audience=AUDIENCE, **further)


def test_roles_of_other_applications_open_nothing(with_tokens: httpx.Client, issuer: Issuer) -> None:
    def statuses(**claims: Any) -> tuple[int, int]:
        """Of asking for what `read` opens, and for what `admin` does."""
        sent = issuer.token(**{"roles": [], **claims})
        return tuple(  # type: ignore[return-value]
            with_tokens.request(method, path, headers=sent).status_code
            for method, path in (("GET", "/stac/"), ("PUT", "/nowhere"))
        )

    for role in (
        "Billing.Admin",
        "billing.admin",
        "x.geo_assets.admin",
        "geo_assets.billing.admin",
        "/admin",
        "admin.",
    ):
        for claim in ({"roles": [role]}, {"scp": role}, {"scope": f"openid {role}"}):
            assert statuses(**claim) == (403, 403), claim
    assert statuses(roles=["geo_assets.geo_assets.admin"]) == (403, 403)
    for role in ("admin", "geo_assets.admin", "Geo_Assets.Admin"):
        for claim in ({"roles": [role]}, {"scp": role}, {"scope": f"openid {role}"}):
            assert statuses(**claim) == (200, 404), claim
    assert statuses(roles=["read", "Billing.Admin"]) == (200, 403)
    assert statuses(roles={"admin": True}) == statuses(roles=None) == (403, 403)


def test_unknown_keys_in_tokens_do_not_have_the_issuer_flooded(with_tokens: httpx.Client, issuer: Issuer) -> None:
    issuer.asked.clear()
    for number in range(60):
        refused = with_tokens.get("/stac/", headers=issuer.token(kid=f"key-{number}"))
        assert refused.status_code == (401 if number < 30 else 429)
    assert issuer.asked.count("/keys") <= 2
    assert with_tokens.get("/stac/", headers=issuer.token()).status_code == 200, "after 60 wrong ones, too"
    for garbage in ("a.b.c", "..", f"{'A' * 20_000}.b.c", "eyJhbGciOiJSUzI1NiJ9.e30.AA"):
        assert with_tokens.get("/stac/", headers={"X-API-Key": garbage}).status_code == 429
    assert issuer.asked.count("/keys") <= 2


def test_an_issuer_that_does_not_answer_is_asked_seldom(place: tuple[str, Path], issuer: Issuer) -> None:
    documents, issuer.documents = issuer.documents, {}
    issuer.asked.clear()
    try:
        with served(token_settings(place, issuer, api_keys=with_keys())) as client:
            statuses = {client.get("/stac/", headers=issuer.token()).status_code for _ in range(20)}
            assert statuses == {503}
            assert client.get("/stac/", headers=bearer("read")).status_code == 200
    finally:
        issuer.documents = documents
    assert len(issuer.asked) <= 2


def test_names_in_tokens_are_bounded_and_on_one_line(
    with_tokens: httpx.Client, issuer: Issuer, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile = "x\nlevel=critical\x1b[31m\u2028\u202e" + "y" * 5000
    assert with_tokens.get("/stac/", headers=issuer.token(preferred_username=hostile)).status_code == 200
    assert with_tokens.get("/livez").status_code == 200  # by then the line of the first is written
    (logged,) = [line for line in capfd.readouterr().out.splitlines() if "level=critical" in line]
    assert "y" * 200 not in logged
    assert "caller='x?level=critical?[31m??yyy" in logged


def test_a_server_says_that_its_limits_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "each process" in " ".join(CliRunner().invoke(main, ["serve", "--help"]).output.split())


def test_keys_are_compared_before_anything_is_limited(place: tuple[str, Path]) -> None:
    """Without a proxy: 40 wrong keys of this very address, then the right one."""
    with served(settings_of(*place, api_keys=SecretStr(f"me:read:{KEYS['read']}"))) as client:
        answers = [client.get("/stac/", headers={"X-API-Key": f"a-wrong-key-number-{n}"}) for n in range(40)]
        assert [answer.status_code for answer in answers] == [401] * 30 + [429] * 10
        assert client.get("/stac/", headers={"X-API-Key": KEYS["read"]}).status_code == 200
