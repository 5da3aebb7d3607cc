"""VRTs: what the document states, and every way out of its source refused before anybody opens it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rasterio
from pydantic import TypeAdapter
from rasterio.transform import from_origin

from geo_assets.errors import Corrupt, MissingCrs, PermanentError, TooLarge, UnsupportedFormat
from geo_assets.models import RasterMetadata
from geo_assets.raster.footprint import known_footprint, with_footprint
from geo_assets.raster.formats.vrt import read_vrt_metadata
from tests.rasters import write_raster

HERE = {"a/scene.tif": b"II*\0", "a/RGB.byte.tif": b"II*\0", "a/389225main_sw_1965_1024.jpg": b"\xff\xd8\xff"}
VRTS = ("RGB.byte.gcp.vrt", "RGB.byte.rpc.vrt", "compdcs.vrt", "white-gemini-iv.vrt")


def read(
    text: str | bytes, *, name: str = "a/scene.vrt", prefix: str = "", here: dict[str, bytes] = HERE
) -> RasterMetadata:
    content = text.encode() if isinstance(text, str) else text

    def head(member: str, most: int) -> bytes | None:
        return here[member][:most] if member in here else None

    return with_footprint(read_vrt_metadata(content, name=name, prefix=prefix, head=head))


def vrt(
    *,
    source: str = '<SourceFilename relativeToVRT="1">scene.tif</SourceFilename>',
    before: str = "",
    dataset: str = "",
    band: str = "",
    attributes: str = "",
) -> str:
    return (
        f'{before}<VRTDataset rasterXSize="20" rasterYSize="10"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>{dataset}"
        f'<VRTRasterBand dataType="Byte" band="1"{attributes}>{band}<SimpleSource>{source}</SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )


_GDAL = """
import sys, rasterio, rasterio.shutil
from pydantic import TypeAdapter
from geo_assets.raster.header import describe_dataset
from geo_assets.models import RasterMetadata
scene, *paths = sys.argv[1:]
rasterio.shutil.copy(scene, paths[0], driver="VRT")
for path in paths:
    with rasterio.open(path) as dataset:
        print(TypeAdapter(RasterMetadata).dump_json(describe_dataset(dataset, None, lambda: 0)).decode())
"""


@pytest.fixture(scope="module")
def gdal_says(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, RasterMetadata]:
    """What GDAL says of the samples and of a VRT it wrote, in a process of its own: here it has no driver for them."""
    folder = tmp_path_factory.mktemp("vrt")
    transform = from_origin(500_000, 5_000_000, 10, 10) @ rasterio.Affine.rotation(20)
    options: dict[str, Any] = {"dtype": "int16", "nodata": -9, "transform": transform, "count": 2}
    scene = write_raster(folder / "scene.tif", tags={"DATE": "2020-01-02", "AREA_OR_POINT": "Point"}, **options)
    with rasterio.open(scene, "r+") as dataset:
        dataset.scales, dataset.offsets, dataset.units = (0.1, 1.0), (2.0, 0.0), ("K", "")
        dataset.set_band_description(1, "heat")
    paths = [folder / "scene.vrt", *(samples / "rasters" / name for name in VRTS)]
    command = [sys.executable, "-W", "ignore", "-c", _GDAL, str(scene), *map(str, paths)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {path: TypeAdapter(RasterMetadata).validate_json(line) for path, line in zip(paths, said, strict=True)}


def test_what_gdal_writes_is_read_as_gdal_reads_it(gdal_says: dict[Path, RasterMetadata]) -> None:
    path, expected = next(iter(gdal_says.items()))
    found = read_vrt_metadata(path.read_bytes(), name="a/scene.vrt", prefix="a/", head=lambda *_: b"II*\0")
    for fact in ("driver", "shape", "bands", "crs_code", "area_or_point", "gcp_count", "block_shape"):
        assert getattr(found, fact) == getattr(expected, fact), fact
    assert found.transform == pytest.approx(expected.transform)
    assert found.tags[""] == expected.tags[""]
    assert found.members == ("a/scene.tif",)


@pytest.mark.parametrize("name", VRTS)
def test_samples_state_what_gdal_says_of_them(name: str, samples: Path, gdal_says: dict[Path, RasterMetadata]) -> None:
    path = samples / "rasters" / name
    found = read_vrt_metadata(path.read_bytes(), name=f"a/{name}", prefix="", head=lambda *_: b"II*\0")
    expected = gdal_says[path]
    for fact in ("shape", "transform", "crs_code", "gcp_count", "has_rpcs"):
        assert getattr(found, fact) == getattr(expected, fact), fact
    assert [(band.data_type, band.nodata) for band in found.bands] == [
        (band.data_type, band.nodata) for band in expected.bands
    ]
    assert (found.ground_control is None) is (expected.ground_control is None)
    if found.ground_control and expected.ground_control:
        assert found.ground_control.points == expected.ground_control.points


def test_ground_control_points_place_it_approximately(samples: Path) -> None:
    found = read((samples / "rasters" / "RGB.byte.rpc.vrt").read_bytes())
    assert "approximate" in known_footprint(found).source


@pytest.mark.parametrize("before", ["", '<?xml version="1.0"?>\n'])
def test_a_relative_path_in_the_source_is_all_it_takes(before: str) -> None:
    deeper = '<SourceFilename relativeToVRT="1">../b/../c/x.tif</SourceFilename>'
    found = read(vrt(source=deeper, before=before), prefix="c/", name="c/d/scene.vrt", here={"c/c/x.tif": b"II*\0"})
    assert found.members == ("c/c/x.tif",)
    assert found.transform == (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)


PATHS = [
    "/etc/passwd", "../../etc/passwd", "..", "../b/x.tif", "/vsicurl/http://a.example/x.tif", "http://a.example/x.tif",
    "C:\\x.tif", "NETCDF:x.nc:tas", "vrt://x.tif?bands=1", "..\\x.tif", "&lt;VRTDataset&gt;", "{&quot;type&quot;:1}",
    "~/x.tif", "other.VRT", "", "a/../../../b",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_the_source(path: str) -> None:
    with pytest.raises(UnsupportedFormat):
        read(vrt(source=f'<SourceFilename relativeToVRT="1">{path}</SourceFilename>'), prefix="a/")


HOSTILE = [
    vrt(source="<SourceFilename>scene.tif</SourceFilename>"),
    vrt(source='<SourceFilename relativeToVRT="0">scene.tif</SourceFilename>'),
    vrt(before='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    vrt(before='<!DOCTYPE VRTDataset SYSTEM "http://a.example/x.dtd">'),
    vrt(attributes=' subClass="VRTDerivedRasterBand"'),
    vrt(attributes=' subClass="VRTRawRasterBand"'),
    vrt(band="<PixelFunctionType>x</PixelFunctionType>"),
    vrt(band="<PixelFunctionLanguage>Python</PixelFunctionLanguage>"),
    vrt(source='<SourceFilename relativeToVRT="1">scene.tif</SourceFilename><OpenOptions/>'),
    vrt(dataset="<GDALWarpOptions/>"),
    vrt(dataset='<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">/etc/passwd</MDI></Metadata>'),
    vrt(dataset='<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/etc/passwd</MDI></Metadata>'),
    vrt(dataset='<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="1">/etc/passwd'
        "</SourceFilename></SimpleSource></VRTRasterBand></MaskBand>"),
    vrt(band='<Overview><SourceFilename relativeToVRT="1">/etc/passwd</SourceFilename></Overview>'),
    vrt(dataset='<Group name="/"/>'),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_could_run_code_or_name_another_file_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedFormat):
        read(text)


def test_a_vrt_behind_another_name_is_not_followed() -> None:
    with pytest.raises(UnsupportedFormat, match="a VRT itself"):
        read(vrt(), here={"a/scene.tif": b"<VRTDataset rasterXSize='1'>"})


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        (vrt(source='<SourceFilename relativeToVRT="1">gone.tif</SourceFilename>'), Corrupt, "a/gone.tif"),
        (vrt()[:-20], Corrupt, "no XML"),
        ("<VRTDataset" + "<MaskBand>" * 40, Corrupt, "no XML"),
        ("<VRTDataset>" + "<MaskBand>" * 40, TooLarge, "32 elements"),
        (vrt().replace('rasterXSize="20"', 'rasterXSize="-1"'), Corrupt, "rasterXSize"),
        (vrt().replace("500000,", "nan,"), Corrupt, "six numbers"),
        (vrt().replace("EPSG:32633", "/etc/passwd"), MissingCrs, "passwd"),
        (vrt().replace('"Byte"', '"Word"'), UnsupportedFormat, "Word"),
        ('<VRTDataset rasterXSize="1" rasterYSize="1"/>', UnsupportedFormat, "no band"),
        (vrt(band='<SimpleSource><SourceFilename relativeToVRT="1">x</SourceFilename></SimpleSource>' + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{n}.tif</SourceFilename></SimpleSource>'
            for n in range(1000))), TooLarge, "1000 files"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_has_a_typed_reason(text: str, error: type[PermanentError], word: str) -> None:
    with pytest.raises(error, match=word):
        read(text)
