"""Each door of the API that is to be shut: a test that fails when it opens."""

import json
import logging
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa

from geo_assets.api.access import Access, parse_keys
from geo_assets.api.gate import needed_scope
from geo_assets.cli.main import main
from geo_assets.errors import InvalidConfiguration
from geo_assets.settings import Settings
from tests.api_server import KEYS, bearer, served, settings_of, with_keys
from tests.token_issuer import AUDIENCE, Issuer

COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "mine",
    "description": "Of nobody's source",
    "license": "other",
    "links": [],
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]}},
}


def item(item_id: str, href: str) -> dict[str, Any]:
    """An item of one GeoTIFF at ``href``, as a caller with the scope write may post it."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "bbox": [0, 0, 0, 0],
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": {"data": {"href": href, "type": "image/tiff; application=geotiff"}},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sources.yaml, whose one source is the folder `blobs` in it."""
    folder = tmp_path_factory.mktemp("security")
    (folder / "blobs").mkdir()
    sources = {"sources": {"blobs": {"url": "file:blobs", "collection": {"id": "blobs", "description": "Blobs"}}}}
    (folder / "sources.yaml").write_text(json.dumps(sources))
    return folder


@pytest.fixture(scope="module")
def guarded(module_catalogue: str, folder: Path) -> Iterator[httpx.Client]:
    """An API with a key a scope."""
    with served(settings_of(module_catalogue, folder / "sources.yaml", api_keys=with_keys())) as client:
        yield client


@pytest.fixture(scope="module")
def unguarded(module_catalogue: str, folder: Path) -> Iterator[httpx.Client]:
    """An API without keys, which serves its own machine only."""
    with served(settings_of(module_catalogue, folder / "sources.yaml")) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/stac/collections"),
        ("PUT", "/stac/collections/blobs"),
        ("DELETE", "/stac/collections/blobs"),
        ("POST", "/stac/collections/blobs/items"),
        ("POST", "/stac/collections/blobs/bulk_items"),
        ("PATCH", "/stac/collections/blobs/items/x"),
        ("POST", "/api/jobs/submit/hello_world"),
        ("POST", "/api/schema/redeploy"),
        ("POST", "/raster/searches/register"),
        ("GET", "/stac/search"),
        ("POST", "/stac/search"),
        ("GET", "/api/health"),
        ("GET", "/metrics"),
        ("GET", "/api/openapi.json"),
        ("GET", "/features/collections"),
        ("POST", "/what/nobody/thought/of"),
    ],
)
def test_nothing_with_data_is_open_without_a_key(guarded: httpx.Client, method: str, path: str) -> None:
    answer = guarded.request(method, path, json={})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    wrong = guarded.request(method, path, json={}, headers={"X-API-Key": "not-one-of-the-keys-at-all"})
    assert wrong.status_code in (401, 429)


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("read", "POST", "/stac/collections"),
        ("submit", "POST", "/stac/collections"),
        ("read", "DELETE", "/stac/collections/blobs/items/x"),
        ("read", "POST", "/api/jobs/submit/hello_world"),
        ("write", "POST", "/api/jobs/submit/hello_world"),
        ("write", "POST", "/api/jobs/" + 64 * "a" + "/cancel"),
        ("read", "POST", "/raster/searches/register"),
        ("write", "POST", "/api/schema/redeploy"),
        ("submit", "POST", "/api/schema/redeploy"),
        ("write", "PUT", "/what/nobody/thought/of"),
    ],
)
def test_a_key_opens_what_its_scope_names_and_no_more(
    guarded: httpx.Client, scope: str, method: str, path: str
) -> None:
    answer = guarded.request(method, path, json={}, headers=bearer(scope))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_each_scope_opens_its_own(guarded: httpx.Client) -> None:
    assert guarded.get("/stac/collections", headers=bearer("read")).status_code == 200
    assert guarded.post("/stac/search", json={}, headers=bearer("read")).status_code == 200
    assert guarded.post("/stac/collections", json=COLLECTION, headers=bearer("write")).status_code == 201
    assert guarded.get("/metrics", headers={"X-API-Key": KEYS["admin"]}).status_code == 200
    unknown = guarded.post("/api/jobs/submit/nothing", json={}, headers=bearer("submit"))
    assert unknown.status_code == 404
    assert "hello_world" in unknown.json()["remedy"]


def test_a_write_is_recorded_with_who_made_it(guarded: httpx.Client, module_catalogue: str) -> None:
    guarded.post("/stac/collections", json={**COLLECTION, "id": "audited"}, headers=bearer("write"))
    headers = {**bearer("write"), "X-Correlation-Id": "the-one-i-look-for"}
    posted = guarded.post(
        "/stac/collections/audited/items", json=item("one", "https://example.org/a.tif"), headers=headers
    )
    assert posted.status_code == 201
    with psycopg.connect(module_catalogue) as connection:
        query = (
            "SELECT written_by, method, collection_id FROM ledger.api_write WHERE correlation_id = 'the-one-i-look-for'"
        )
        assert connection.execute(query).fetchall() == [("writeer", "POST", "audited")]


def test_what_a_source_makes_is_not_written_by_hand(guarded: httpx.Client, module_catalogue: str) -> None:
    with psycopg.connect(module_catalogue) as connection:
        connection.execute(
            "INSERT INTO ledger.source (source, url, collection_id, rule_digest, reading_digest) "
            "VALUES ('blobs', 'file:blobs', 'blobs', '', '') ON CONFLICT DO NOTHING"
        )
    guarded.post("/stac/collections", json={**COLLECTION, "id": "blobs"}, headers=bearer("write"))
    answer = guarded.post("/stac/collections/blobs/items", json=item("x", "a.tif"), headers=bearer("write"))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    bulk = {"items": {"x": item("x", "a.tif")}, "method": "upsert"}
    assert guarded.post("/stac/collections/blobs/bulk_items", json=bulk, headers=bearer("write")).status_code == 409
    assert guarded.delete("/stac/collections/blobs", headers=bearer("write")).status_code == 409


@pytest.mark.alters_roles
def test_redeploy_needs_the_setting_and_the_name_of_the_database(catalogue: str, folder: Path) -> None:
    with served(settings_of(catalogue, folder / "sources.yaml", api_keys=with_keys())) as client:
        refused = client.post("/api/schema/redeploy", json={"confirm": "x"}, headers=bearer("admin"))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    settings = settings_of(catalogue, folder / "sources.yaml", api_keys=with_keys(), api_redeploy=True)
    with served(settings) as client:
        assert client.post("/api/schema/redeploy", json={"confirm": "x"}, headers=bearer("admin")).status_code == 400
        name = client.get("/api/db/stats", headers=bearer("read")).json()["database"]["name"]
        done = client.post("/api/schema/redeploy", json={"confirm": name}, headers=bearer("admin"))
        assert done.status_code == 200
        assert done.json()["verified"]["reader may not load items"] == "yes"


def test_without_keys_redeploying_is_shut_and_only_this_machine_is_served(unguarded: httpx.Client) -> None:
    assert unguarded.get("/stac/collections").status_code == 200
    assert unguarded.post("/api/schema/redeploy", json={"confirm": "x"}).status_code == 403
    rebound = unguarded.get("/stac/collections", headers={"Host": "attacker.example"})
    assert (rebound.status_code, rebound.json()["code"]) == (403, "forbidden")
    for headers in ({"Origin": "https://attacker.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert unguarded.post("/api/jobs/submit/hello_world", json={}, headers=headers).status_code == 403
    assert "access-control-allow-origin" not in unguarded.get("/stac/", headers={"Origin": "https://a.example"}).headers


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_no_public_address_is_bound_without_a_key(host: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    refused = CliRunner().invoke(main, ["serve", "--host", host, "--port", "0"])
    assert refused.exit_code == 1
    assert "GEO_ASSETS_API_KEYS" in refused.output


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
        "/static/maplibre-gl/..%2f..%2f..%2fpyproject.toml",
        "/static//etc/passwd",
        "/stac/collections/%2e%2e/items",
        "/static/..%5capp.py",
    ],
)
def test_no_path_leads_out_of_what_is_served(unguarded: httpx.Client, path: str) -> None:
    answer = httpx.Client().send(
        httpx.Request("GET", httpx.URL(str(unguarded.base_url).rstrip("/") + "/", raw_path=path.encode()))
    )
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text
    assert "create_app" not in answer.text


class _Recorder(BaseHTTPRequestHandler):
    """A server inside the network, which nobody may make the API ask."""

    asked: list[str] = []  # noqa: RUF012 (of the class: a handler is made a request)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 (http.server looks it up by this name)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Say nothing."""


@pytest.fixture(scope="module")
def internal() -> Iterator[str]:
    """The address of such a server."""
    server = HTTPServer(("127.0.0.1", 0), _Recorder)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_gdal_is_given_no_address_that_a_user_wrote(guarded: httpx.Client, internal: str, folder: Path) -> None:
    (folder / "outside.tif").write_text("secret")
    (folder / "blobs" / "link.tif").symlink_to(folder / "outside.tif")
    hrefs = [
        f"{internal}/a.tif",
        f"/vsicurl/{internal}/b.tif",
        f"vrt://{internal}/c.tif",
        f'<VRTDataset rasterXSize="1" rasterYSize="1"><x>{internal}/d.tif</x></VRTDataset>',
        f"WMS:{internal}/e",
        "/etc/passwd",
        "file:///etc/passwd",
        (folder / "outside.tif").as_uri(),
        f"{(folder / 'blobs').as_uri()}/../outside.tif",
        f"{(folder / 'blobs').as_uri()}/%2e%2e/outside.tif",
        f"{(folder / 'blobs').as_uri()}/link.tif",
        "az://other/x.tif",
        "https://169.254.169.254/metadata/identity/oauth2/token",
    ]
    guarded.post("/stac/collections", json={**COLLECTION, "id": "ssrf"}, headers=bearer("write"))
    for number, href in enumerate(hrefs):
        posted = guarded.post("/stac/collections/ssrf/items", json=item(f"i{number}", href), headers=bearer("write"))
        assert posted.status_code == 201, posted.text
        for question in ("info?assets=data", "preview.png?assets=data", "tiles/WebMercatorQuad/0/0/0.png?assets=data"):
            answer = guarded.get(f"/raster/collections/ssrf/items/i{number}/{question}", headers=bearer("read"))
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), href
    mosaic = guarded.get("/raster/collections/ssrf/tiles/WebMercatorQuad/0/0/0.png?assets=data", headers=bearer("read"))
    assert mosaic.status_code != 200
    assert guarded.get(f"/raster/external/info?url={internal}/f.tif", headers=bearer("read")).status_code == 404
    assert _Recorder.asked == []


def test_a_blob_below_a_source_that_is_no_tiff_inside_is_not_opened_as_what_it_is(
    guarded: httpx.Client, folder: Path
) -> None:
    vrt = (
        '<VRTDataset rasterXSize="1" rasterYSize="1">'
        '<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        "<SourceFilename>/etc/passwd</SourceFilename><PixelOffset>1</PixelOffset><LineOffset>1</LineOffset>"
        "</VRTRasterBand></VRTDataset>"
    )
    (folder / "blobs" / "evil.tif").write_text(vrt)
    guarded.post("/stac/collections", json={**COLLECTION, "id": "vrt"}, headers=bearer("write"))
    href = (folder / "blobs" / "evil.tif").as_uri()
    guarded.post("/stac/collections/vrt/items", json=item("evil", href), headers=bearer("write"))
    answer = guarded.get("/raster/collections/vrt/items/evil/info?assets=data", headers=bearer("read"))
    assert (answer.status_code, answer.json()["code"]) == (502, "unreadable")


def test_bodies_and_pictures_have_a_size(module_catalogue: str, folder: Path) -> None:
    with served(settings_of(module_catalogue, folder / "sources.yaml", api_body_mb=0.01)) as client:
        large = {"filter": "x" * 20_000}
        assert client.post("/stac/search", json=large).status_code == 413
        chunks = (b'{"a": "' + 5_000 * b"x" for _ in range(5))  # no Content-Length says how much will come
        assert (
            client.post("/stac/search", content=chunks, headers={"content-type": "application/json"}).status_code == 413
        )
        huge = client.get("/raster/collections/a/items/b/preview.png?assets=data&max_size=100000")
        assert (huge.status_code, huge.json()["code"]) == (413, "request_too_large")


def test_who_asks_too_often_is_told_when_to_come_again(module_catalogue: str, folder: Path) -> None:
    settings = settings_of(module_catalogue, folder / "sources.yaml", api_keys=with_keys(), api_requests_a_minute=5)
    with served(settings) as client:
        answers = [client.get("/livez", headers=bearer("read")) for _ in range(12)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) > 0
        assert client.get("/livez", headers=bearer("write")).status_code == 200
        guesses = [client.get("/stac/", headers={"X-API-Key": f"guess-number-{n}-of-many"}) for n in range(40)]
        assert {answer.status_code for answer in guesses} == {401, 429}


def test_no_secret_is_in_logs_or_answers(
    module_catalogue: str, folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said = ""
    with served(settings_of(module_catalogue, folder / "sources.yaml", api_keys=with_keys())) as client:
        token = "eyJ.secret-of-a-token.abc"
        for headers in (bearer("admin"), {"X-API-Key": KEYS["write"]}, {"Authorization": f"Bearer {token}"}):
            for path in ("/stac/search?sig=a-signature-in-a-query", "/api/health", "/api/jobs/status/x", "/nowhere"):
                said += client.get(path, headers=headers).text
            said += client.post("/stac/collections", content=b"no json", headers=headers).text
    # The client of this test logs what it asks; answers link to themselves, with the query.
    said = said.replace("?sig=a-signature-in-a-query", "")
    said += "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    said += "".join(capfd.readouterr())
    password = psycopg.conninfo.conninfo_to_dict(module_catalogue)["password"]
    for secret in (*KEYS.values(), token, str(password), "a-signature-in-a-query"):
        assert secret not in said


def test_keys_are_checked_when_they_are_read_and_never_shown() -> None:
    for text in ("nobody", "a:read:short", "a:fly:a-key-that-is-long-enough", "a:read:sha256=12", "a b:read:x"):
        with pytest.raises(InvalidConfiguration) as caught:
            parse_keys(text)
        assert "long-enough" not in str(caught.value)
    (hashed,) = parse_keys("a:read+submit:sha256=" + 64 * "0")
    assert hashed.principal.scopes == {"read", "submit"}
    with pytest.raises(InvalidConfiguration, match="go together"):
        Access(Settings(_env_file=None, api_oidc_issuer="https://issuer.example"))
    with pytest.raises(InvalidConfiguration, match="https"):
        Access(Settings(_env_file=None, api_oidc_issuer="http://issuer.example", api_oidc_audience="api"))


def test_what_no_rule_opens_needs_the_scope_admin() -> None:
    assert needed_scope("POST", "/api/anything") == needed_scope("DELETE", "/raster/x") == "admin"
    assert needed_scope("POST", "/stac/search/more") == "write"
    assert needed_scope("GET", "/staticx") == needed_scope("GET", "//static/x") == "read"


def test_tokens_of_the_issuer_open_what_their_roles_name(issuer: Issuer, module_catalogue: str, folder: Path) -> None:
    token = issuer.token
    settings = settings_of(
        module_catalogue,
        folder / "sources.yaml",
        api_oidc_issuer=issuer.url,
        api_oidc_audience=AUDIENCE,
        api_requests_a_minute=999,
    )
    with served(settings) as client:
        assert client.get("/stac/collections", headers=token()).status_code == 200
        assert client.post("/stac/collections", json=COLLECTION, headers=token()).status_code == 403
        assert client.post("/api/jobs/submit/no", json={}, headers=token(scp="submit")).status_code == 404
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        unsigned = jwt.encode(issuer.claims(), "", algorithm="none", headers={"kid": "one"})
        refused = [
            token(aud="api://other"),
            token(iss="https://login.example"),
            token(exp=time.time() - 300),
            token(signer=stranger),
            token(signer="a shared secret that is no key of the issuer's", algorithm="HS256"),
            {"Authorization": f"Bearer {unsigned}"},
        ]
        assert [client.get("/stac/collections", headers=each).status_code for each in refused] == [401] * 6
