"""Pictures cost what they show: rasters of 30,000 x 30,000 pixels asked for in every way, of a real server.

Each request is answered or refused within seconds; the server stays small, and answers others meanwhile.
"""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_bounds

from tests.api_server import serving_process
from tests.pipeline import SOURCE, Pipeline

pytestmark = pytest.mark.attack

SIDE = 30_000
MOST_BYTES = int(1.5 * 1024**3)
MOST_SECONDS = 20.0
MOST_SECONDS_OF_LIFE = 0.5
RASTERS = ("tiled", "overviews", "striped", "floats", "striped_floats")
REFUSALS = (400, 413, 422)


def write_large(path: Path, *, dtype: str = "uint8", count: int = 1, **profile: Any) -> None:
    """A raster of 30,000 x 30,000 pixels at 12 to 15 E, 45 to 48 N; floats are sparse, and so written in no time."""
    options = {
        "driver": "GTiff",
        "width": SIDE,
        "height": SIDE,
        "count": count,
        "dtype": dtype,
        "crs": "EPSG:4326",
        "transform": from_bounds(12, 45, 15, 48, SIDE, SIDE),
        "compress": "packbits",  # written in a fifth of the time that deflate takes
        "sparse_ok": True,
        "bigtiff": "yes",
        **profile,
    }
    with rasterio.open(path, "w", **options) as dataset:
        rows = numpy.tile((numpy.arange(SIDE) // 256).astype("uint8"), (512, 1))
        for top in range(0, SIDE if dtype == "uint8" else 0, 512):
            height = min(512, SIDE - top)
            dataset.write(rows[:height] + numpy.uint8(top // 512), 1, window=((top, top + height), (0, SIDE)))


def write_rasters(folder: Path) -> None:
    """The five of them."""
    tiles: dict[str, Any] = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    write_large(folder / "tiled.tif", **tiles)
    write_large(folder / "striped.tif", blockysize=8)
    write_large(folder / "floats.tif", dtype="float32", count=4, **tiles)
    write_large(folder / "striped_floats.tif", dtype="float32", count=4, interleave="band")
    shutil.copy(folder / "tiled.tif", folder / "overviews.tif")
    with rasterio.open(folder / "overviews.tif", "r+") as dataset:
        dataset.build_overviews([2, 4, 8, 16, 32, 64], Resampling.nearest)


@dataclass
class Server:
    """A server, and what it was seen to need."""

    client: httpx.Client
    pid: int
    lives: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    @property
    def peak_bytes(self) -> int:
        """The most that it ever held in memory."""
        (line,) = [each for each in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmHWM" in each]
        return int(line.split()[1]) * 1024

    def ask(self, raster: str, path: str, *, method: str = "GET", json: Any = None) -> httpx.Response:
        """Ask about a raster, and see that it does not take long."""
        began = time.monotonic()
        sign = "&" if "?" in path else "?"
        asset = "data%7Cbidx=1,2,3" if "floats" in raster else "data"
        url = f"/raster/collections/{SOURCE}/items/{raster}/{path}{sign}assets={asset}"
        answer = self.client.request(method, url, json=json)
        seconds = time.monotonic() - began
        assert seconds < MOST_SECONDS, f"{raster}/{path} took {seconds:.1f} s"
        return answer

    @contextmanager
    def living(self) -> Iterator[None]:
        """Meanwhile ask whether the server lives."""
        over = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=self.client.base_url, timeout=30) as client:
                while not over.is_set():
                    began = time.monotonic()
                    time.sleep(0.05)
                    self.late.append(time.monotonic() - began - 0.05)
                    began = time.monotonic()
                    assert client.get("/livez").status_code == 200
                    self.lives.append(time.monotonic() - began)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="module")
def server(
    module_pipeline: Pipeline,
    made_once: Callable[[str, Callable[[Path], None]], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The API in a process of its own, on the five rasters."""
    folder = made_once("large_rasters", write_rasters)
    module_pipeline.declare(folder.as_uri())
    assert module_pipeline.run().success
    assert len(module_pipeline.items()) == len(RASTERS)
    log = tmp_path_factory.mktemp("log") / "serve.log"
    with serving_process(module_pipeline.database_url, module_pipeline.sources_path, log=log) as (client, pid):
        server = Server(client, pid)
        with server.living():
            yield server
        # Other tests run beside this one, so a single answer may wait for a processor. One that waits for the loop to
        # be free takes seconds: a picture, a figure or the first request of a part did.
        answers = sorted(server.lives)
        usual, slowest, late = answers[int(0.99 * len(answers))], answers[-1], max(server.late)
        said = f"/livez took {usual:.2f} s, at most {slowest:.2f} s; sleeping took {late:.2f} s longer"
        assert usual < MOST_SECONDS_OF_LIFE, said
        assert slowest < 3 * MOST_SECONDS_OF_LIFE + 2 * late, said
        assert server.peak_bytes < MOST_BYTES


BOX = "bbox/12,45,15,48"
SHAPE = {
    "type": "Feature",
    "properties": {},
    "geometry": {"type": "Polygon", "coordinates": [[[12, 45], [15, 45], [15, 48], [12, 48], [12, 45]]]},
}
SPELLINGS = ("9000", "9000.0", "9_000", "%209000", "+9000", "%2B9000", "9000%20", "9e3", "٩٠٠٠", "64&{}=9000", "09000")
PLACES = (
    f"{BOX}.png?max_size",
    f"{BOX}.png?width",
    f"{BOX}.png?height",
    "preview.png?max_size",
    "preview.png?width",
    "tiles/WebMercatorQuad/6/34/22.png?tilesize",
    "tiles/WebMercatorQuad/6/34/22.png?buffer",
    "tiles/WebMercatorQuad/6/34/22.png?padding",
    "statistics?max_size",
    "statistics?width",
    "asset_statistics?height",
)


@pytest.mark.parametrize("place", PLACES)
def test_no_spelling_of_a_size_passes_its_limit(server: Server, place: str) -> None:
    name = place.partition("?")[2]
    for spelling in SPELLINGS:
        answer = server.ask("overviews", f"{place}={spelling.format(name)}")
        assert answer.status_code in REFUSALS, (spelling, answer.status_code)


@pytest.mark.parametrize("path", ["preview/{0}x{0}.png", f"{BOX}/{{0}}x{{0}}.png"])
def test_nor_one_in_a_path(server: Server, path: str) -> None:
    for spelling in SPELLINGS[:-2]:
        assert server.ask("overviews", path.format(spelling)).status_code in REFUSALS, spelling


WAYS = (
    f"{BOX}.png",
    f"{BOX}.tif?dst_crs=EPSG:3857",
    f"{BOX}.npy?max_size=4096",
    f"{BOX}/2048x2048.jpg",
    f"{BOX}.png?resampling=cubic",
    "bbox/-180,-85,180,85.png?dst_crs=EPSG:3857",
    "bbox/13,46,13.1,46.1.png",
    "preview.png",
    "preview.png?dst_crs=EPSG:32633",
    "preview.npy?max_size=4096",
    "preview.npy?expression=b1*2;b1/3;b1%2B1;b1",
    "tiles/WebMercatorQuad/0/0/0.png",
    "tiles/WebMercatorQuad/6/34/22.png",
    "tiles/WebMercatorQuad/6/34/22.png?tilesize=4096",
    "tiles/WebMercatorQuad/12/2194/1440.png?buffer=3.5&padding=16",
    "point/13.5,46.5",
    "info",
    "statistics",
    "statistics?max_size=4096",
    "statistics?max_size=4096&categorical=true",
    "asset_statistics",
)


@pytest.mark.parametrize("raster", RASTERS)
def test_each_way_to_ask_is_answered_or_refused_soon(server: Server, raster: str) -> None:
    for way in WAYS:
        answer = server.ask(raster, way)
        assert answer.status_code in (200, 413), (way, answer.text[:500])
        if answer.status_code == 413:
            assert {"detail", "remedy"} <= answer.json().keys(), answer.text
    for path in ("statistics", "statistics?cover_scale=1000&max_size=1024", "feature.png", "feature.png?max_size=9000"):
        answer = server.ask(raster, path, method="POST", json=SHAPE)
        assert answer.status_code in (200, 413), (path, answer.text[:500])
    assert server.peak_bytes < MOST_BYTES


def test_the_largest_picture_is_drawn(server: Server) -> None:
    for way in (
        f"{BOX}.npy?max_size=4096",
        f"{BOX}.png?max_size=1400&color_formula=gamma%20R%202",
        f"{BOX}.webp?max_size=1400&colormap_name=viridis",
        f"{BOX}.png?max_size=2000&algorithm=hillshade",
        "statistics?max_size=2800",
    ):
        assert server.ask("overviews", way).status_code == 200, way
    assert server.peak_bytes < MOST_BYTES


def test_many_at_once_are_answered_or_told_to_come_again(server: Server) -> None:
    """Large and small ones, more than are drawn at once and than may wait."""
    heavy = ("preview.npy?max_size=4096", f"{BOX}.npy?max_size=4000", "statistics?max_size=2500")
    ways = [(raster, way) for raster in ("overviews", "striped") for way in heavy] * 4
    ways += [("overviews", f"tiles/WebMercatorQuad/10/{550 + n % 4}/{361 + n // 4 % 4}.png") for n in range(200)]
    began = time.monotonic()
    limits = httpx.Limits(max_connections=250)
    with httpx.Client(base_url=server.client.base_url, timeout=60, limits=limits) as client:

        def ask(way: tuple[str, str]) -> httpx.Response:
            raster, path = way
            answer = client.get(f"/raster/collections/{SOURCE}/items/{raster}/{path}", params={"assets": "data"})
            answer.read()
            return answer

        with ThreadPoolExecutor(len(ways)) as threads:
            answers = list(threads.map(ask, ways))
    assert {each.status_code for each in answers} <= {200, 404, 413, 503}
    assert any(each.status_code == 200 for each in answers)
    assert all("Retry-After" in each.headers for each in answers if each.status_code == 503)
    assert all(each.json()["code"] == "busy" for each in answers if each.status_code == 503)
    assert time.monotonic() - began < 60
    assert server.peak_bytes < MOST_BYTES


def test_an_answer_that_is_not_fetched_keeps_nobody_from_drawing(server: Server) -> None:
    """Callers who stop reading after the first byte of a large picture."""
    address = (server.client.base_url.host, server.client.base_url.port or 80)
    path = f"/raster/collections/{SOURCE}/items/overviews/preview.npy?assets=data&max_size=2048"
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(4):
            slow = stack.enter_context(socket.create_connection(address))
            slow.sendall(request)
            slow.recv(1)
        assert server.ask("overviews", "preview.png?max_size=64").status_code == 200


SENSELESS = {
    "color_formula": ("gamma RGB -9", "gamma", "sigmoidal RGB 1e999 2", "saturation", "x" * 5000, ""),
    "nodata": ("1e999", "-1e999", "", "x", "1e400"),
    "rescale": ("a,b", "1", "5,1", "nan,1", "0,inf", "1,1", ""),
    "colormap": ("{", "[]", "{}", "1", '{"a":[1]}', '{"1":"#zz"}', "[[[1],[1,2,3]]]", "[" + "1" * 33_000 + "]"),
    "colormap_name": ("none",),
    "expression": (
        "b1**b1**9",
        "9**9**9+b1",
        "b1+'a'*999999999",
        "__import__('os').system('id')",
        "b1.__class__",
        "exec(b1)",
        "b1;" * 50,
        "b1+" * 900 + "b1",
        "b99",
        "(" * 300 + "b1" + ")" * 300,
        "-" * 900 + "b1",
        "ba+bb",
        "1",
        "b1 if b1 else b1",
        "[b1 for b1 in b1]",
        "b1 + 1j",
    ),
    "algorithm": ("none",),
    "algorithm=contours&algorithm_params": (
        '{"increment":1,"minz":-99999,"maxz":99999}',
        '{"increment":0}',
        "[1]",
        "{",
        '{"minz":"x"}',
    ),
    "algorithm=hillshade&algorithm_params": ('{"buffer":-1}', '{"azimuth":1e9}'),
    "resampling": ("none",),
    "reproject": ("none",),
    "bidx": ("x", "0", "-1"),
    "dst_crs": ("EPSG:0", "x", "[", "+proj=nonsense", "+proj=merc +nadgrids=/etc/passwd", "EPSG:99999999"),
    "coord_crs": ("EPSG:0", "x"),
    "max_size": ("x", "-1", "0.5", ""),
    "width": ("x", "-5", "1.5"),
    "return_mask": ("x",),
}


@pytest.mark.parametrize("name", SENSELESS)
def test_senseless_parameters_are_the_callers_fault(server: Server, name: str) -> None:
    for value in SENSELESS[name]:
        for path in (f"{BOX}.png", "preview.png", "tiles/WebMercatorQuad/6/34/22.png"):
            answer = server.ask("overviews", f"{path}?{name}={quote(value)}")
            # What a way does not read is no fault there.
            is_unread = name in ("coord_crs", "dst_crs", "width", "max_size", "bidx") and answer.status_code == 200
            assert answer.status_code in (400, 422) or is_unread, (
                path,
                value[:60],
                answer.status_code,
                answer.text[:300],
            )


@pytest.mark.parametrize(
    "path",
    [
        "statistics?p=101",
        "statistics?p=-1",
        "statistics?histogram_bins=99999999999",
        "statistics?histogram_bins=0",
        "statistics?histogram_bins=3,2,1",
        "statistics?histogram_range=5,1",
        "statistics?histogram_range=nan,inf",
        "statistics?c=x&categorical=true",
        "point/nan,1",
        "point/inf,1",
        "point/1e999,1",
        "point/0,0",
        "bbox/12,45,12,48.png",
        "bbox/15,48,12,45.png",
        "bbox/nan,45,15,48.png",
        "bbox/-1e308,-1e308,1e308,1e308.png",
        "bbox/12,45,15,inf.png",
        "bbox/0,0,1e-300,1e-300.png",
        "preview/0x0.png",
        "preview/-1x5.png",
        "preview/1e3x5.png",
        "preview.png?width=1&height=4096",
        "tiles/WebMercatorQuad/99999/0/0.png",
        "tiles/WebMercatorQuad/41/0/0.png",
        "tiles/WebMercatorQuad/-1/0/0.png",
        "tiles/WebMercatorQuad/0/99999999999999999999/0.png",
        "tiles/none/0/0/0.png",
        "tiles/WebMercatorQuad/6/34/22.png?buffer=0.3",
        "tiles/WebMercatorQuad/6/34/22.png?buffer=nan",
        "tiles/WebMercatorQuad/6/34/22.png?buffer=inf",
        "tiles/WebMercatorQuad/6/34/22.png?padding=-1",
        "tiles/WebMercatorQuad?minzoom=0&maxzoom=9999999",
        "WebMercatorQuad/tilejson.json?minzoom=99999999",
        "preview.png?assets=data%7Cexpression",
        "preview.png?assets=data%7Cbidx=a",
        "preview.png?assets=data%7Cbidx=0",
        "preview.png?assets=data%7Cbidx=99",
        "preview.png?assets=data%7Cbands=none",
        "preview.png?assets=data%7Cexpression=9**9**9%2Bb1",
        "preview.png?assets=none",
        "preview.png?" + "&".join(["assets=data"] * 500),
        "info?" + "&".join(["assets=data"] * 500),
    ],
)
def test_nothing_in_a_path_or_of_an_asset_makes_the_server_fail(server: Server, path: str) -> None:
    answer = server.ask("overviews", path)
    assert answer.status_code < 500, answer.text


SHAPES: dict[str, Any] = {
    "nowhere": {"type": "Polygon", "coordinates": [[[1e9, 1e9], [1e9, 2e9], [2e9, 2e9], [1e9, 1e9]]]},
    "no area": {"type": "Polygon", "coordinates": [[[13, 46], [13, 46], [13, 46], [13, 46]]]},
    "a point": {"type": "Point", "coordinates": [13, 46]},
    "empty": {"type": "MultiPolygon", "coordinates": []},
    "not a number": {"type": "Point", "coordinates": ["NaN", 1]},
    "a collection": {"type": "GeometryCollection", "geometries": []},
    "none": None,
}


@pytest.mark.parametrize("name", SHAPES)
def test_nor_does_any_shape(server: Server, name: str) -> None:
    feature = {"type": "Feature", "properties": {}, "geometry": SHAPES[name]}
    for path in ("feature.png?max_size=64", "statistics?max_size=64", "statistics", "feature/64x64.png"):
        answer = server.ask("overviews", path, method="POST", json=feature)
        assert answer.status_code < 500, (path, answer.text)


@pytest.mark.parametrize(
    "path",
    [
        f"{BOX}.png",
        f"{BOX}.npy?max_size=4096",
        f"{BOX}/4096x4096.npy?assets_bidx=1",
        "tiles/WebMercatorQuad/6/34/22.png",
        "tiles/WebMercatorQuad/0/0/0.png",
        "tiles/WebMercatorQuad/6/34/22.npy?tilesize=4000&pixel_selection=stdev",
        "tiles/WebMercatorQuad/0/99999999999999999999/0.png",
        "point/13.5,46.5",
        "point/1e30,1?coord_crs=EPSG:3857",
        "bbox/-1e30,-1e30,1e30,1e30.png?coord_crs=EPSG:3857",
        "tiles/WebMercatorQuad/6/34/22.png?items_limit=99999999",
        "tiles/WebMercatorQuad/6/34/22.png?scan_limit=-1",
        "tiles/WebMercatorQuad/6/34/22.png?time_limit=1e9",
        "tiles/WebMercatorQuad/6/34/22/assets",
        "WebMercatorQuad/tilejson.json",
    ],
)
def test_a_mosaic_costs_no_more(server: Server, path: str) -> None:
    began = time.monotonic()
    sign = "&" if "?" in path else "?"
    answer = server.client.get(f"/raster/collections/{SOURCE}/{path}{sign}assets=data%7Cbidx=1")
    assert time.monotonic() - began < MOST_SECONDS
    assert answer.status_code < 500, answer.text
    assert server.peak_bytes < MOST_BYTES


@pytest.mark.parametrize("most", [3.0, 1e30])
def test_nor_do_figures_of_a_mosaic(server: Server, most: float) -> None:
    ring = [[2.0, 2.0], [most, 2.0], [most, most], [2.0, 2.0]]
    ring = [[12.0, 45.0], [15.0, 45.0], [15.0, 48.0], [12.0, 45.0]] if most == 3.0 else ring
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    for path in ("statistics", "statistics?max_size=256", "feature.png", "feature.png?max_size=4096"):
        sign = "&" if "?" in path else "?"
        url = f"/raster/collections/{SOURCE}/{path}{sign}assets=data%7Cbidx=1&coord_crs=EPSG:4326"
        answer = server.client.post(url, json=feature)
        assert answer.status_code < 500, (path, answer.text)
    assert server.peak_bytes < MOST_BYTES
