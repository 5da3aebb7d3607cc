"""The pure parts of the benchmarks: what is written down and shown, and the proxy that makes a store far away."""

import asyncio
import io
import json
import time
from pathlib import Path

import pytest

from benchmarks.corpus import NAME_DATETIME, blob_content, blob_datetime, blob_name
from benchmarks.growth import build_results
from benchmarks.growth_plot import GrowthPoint, plot_growth
from benchmarks.latency_proxy import serve_latency_proxy
from benchmarks.report import BEGIN, COLUMNS, END, markdown_table, replace_between_markers, rich_table, row
from benchmarks.result import Result, at_least, at_most, ratio, write_results
from benchmarks.steps import SIZES, steps_at
from geo_assets.raster.header import read_raster_metadata

FAST = ratio("fast", ours=1200, peer=400, unit="items/s", target=at_least(1.5))
LARGE = Result("large", 600, "MiB", at_most(512), ours={"10": 1.23456, "1,000": 600.0})
ABSENT = Result("absent", None, "ratio of s", at_least(3), note="not available")

POINTS = [
    GrowthPoint(100, 6.0, 200 * 2**20, 500, {"ledger": 2**20, "dagster": 2**19}),
    GrowthPoint(1_000, 8.0, 210 * 2**20, 900, {"ledger": 9 * 2**20, "dagster": 2**20}),
    GrowthPoint(10_000, 40.0, 260 * 2**20, 2_400, {"ledger": 80 * 2**20, "dagster": 2**21}),
]


def test_a_ratio_is_ours_over_the_peers_and_keeps_its_target() -> None:
    assert FAST.value == 3
    assert FAST.ok
    assert not ratio("slow", ours=1, peer=1, unit="s", target=at_least(1.5)).ok
    assert ratio("free", ours=1, peer=2, unit="s").ok


def test_a_target_from_above_is_missed_by_more_and_met_by_as_much() -> None:
    assert not LARGE.ok
    assert Result("equal", 512, "MiB", at_most(512)).ok


def test_what_was_not_measured_is_not_ok() -> None:
    assert not ABSENT.ok
    assert not Result("no target", None, "s").ok


def test_results_json_has_the_same_six_keys_for_each_figure(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, [FAST, LARGE, ABSENT], keep_others=False)
    written = json.loads(path.read_text())
    assert list(written) == ["fast", "large", "absent"]
    assert all(set(entry) == {"value", "target", "ok", "ours", "peer", "unit"} for entry in written.values())
    assert written["fast"] == {
        "value": 3, "target": 1.5, "ok": True, "ours": 1200, "peer": 400, "unit": "ratio of items/s",
    }  # fmt: skip
    assert written["large"]["ours"] == {"10": 1.235, "1,000": 600}
    assert (written["absent"]["value"], written["absent"]["ok"]) == (None, False)


def test_a_run_of_some_figures_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, [FAST, LARGE], keep_others=True)
    write_results(path, [ratio("fast", ours=1, peer=1, unit="items/s")], keep_others=True)
    written = json.loads(path.read_text())
    assert (written["fast"]["value"], written["large"]["value"]) == (1, 600)
    write_results(path, [LARGE], keep_others=False)
    assert list(json.loads(path.read_text())) == ["large"]


def test_a_row_shows_the_figure_its_target_and_what_is_behind_it() -> None:
    assert row(FAST) == ("fast", "3", "≥ 1.5", "yes", "1,200", "400", "ratio of items/s")
    assert row(LARGE) == ("large", "600", "≤ 512", "no", "10: 1.23, 1,000: 600", "", "MiB")
    assert row(ABSENT) == ("absent", "not available", "≥ 3", "no", "", "", "ratio of s")


def test_both_tables_have_a_row_for_each_figure() -> None:
    results = [FAST, LARGE, ABSENT]
    assert rich_table(results).row_count == 3
    lines = markdown_table(results).splitlines()
    assert len(lines) == 2 + 3
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}


def test_only_what_is_between_the_markers_is_rewritten() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replace_between_markers(page, "new\n")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replace_between_markers(once, "new") == once
    with pytest.raises(ValueError, match="no place for the table"):
        replace_between_markers("nothing here", "new")


def test_growth_is_judged_by_the_largest_size_against_the_one_before() -> None:
    cost, memory, rows, tables = build_results(POINTS)
    assert cost.value == pytest.approx(4 / 8)
    assert cost.ours == {"100": 60, "1,000": 8, "10,000": 4}
    assert (memory.value, rows.value) == (260, 2_400)
    assert tables.value == 82 * 2**20
    assert not build_results([*POINTS[:2], GrowthPoint(10_000, 90.0, 0, 0, {})])[0].ok


def test_the_growth_plot_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "images" / "growth.png"
    plot_growth(POINTS, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


def test_steps_stay_within_the_budget_at_every_size() -> None:
    steps = steps_at()
    assert steps.ok
    assert isinstance(steps.ours, dict)
    assert len(steps.ours) == len(SIZES)
    assert steps.ours["1,000,000"] <= 100


def test_each_raster_of_the_corpus_is_its_own_and_always_the_same() -> None:
    contents = [blob_content(index) for index in range(200)]
    assert len(set(contents)) == 200
    assert contents[77] == blob_content(77)
    assert all(10_000 < len(content) < 150_000 for content in contents)


def test_the_corpus_is_of_many_kinds() -> None:
    rasters = [read_raster_metadata(io.BytesIO(blob_content(index))) for index in range(36)]
    assert len({raster.crs_code for raster in rasters}) == 6
    assert {raster.is_cog for raster in rasters} == {True, False}
    assert all(raster.overview_factors for raster in rasters)
    directories = [int.from_bytes(blob_content(index)[4:8], "little") for index in range(36)]
    assert sum(offset > 10_000 for offset in directories) == 12


def test_the_name_of_a_blob_holds_its_date() -> None:
    assert blob_name(1_234).startswith("scenes/001/")
    assert f"_{blob_datetime(blob_name(1_234)):%Y%m%d}_" in blob_name(1_234)
    assert NAME_DATETIME["format"] == "%Y%m%d"


def test_the_proxy_adds_its_latency_to_each_round_trip_and_changes_no_byte() -> None:
    sent = bytes(range(256)) * 4_000  # several chunks
    straight, _ = asyncio.run(_echoed(sent, latency_seconds=0.0))
    far, seconds = asyncio.run(_echoed(sent, latency_seconds=0.1))
    assert straight == far == sent
    assert 0.1 <= seconds < 5


def test_the_proxy_holds_bytes_back_but_does_not_slow_them_down() -> None:
    assert asyncio.run(_together(20, latency_seconds=0.2)) < 20 * 0.2


async def _echoed(sent: bytes, *, latency_seconds: float) -> tuple[bytes, float]:
    """What an echoing server answers through the proxy, and the seconds that took."""
    async with await asyncio.start_server(_echo, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with await serve_latency_proxy((host, port), latency_seconds=latency_seconds) as proxy:
            began = time.perf_counter()
            reader, writer = await asyncio.open_connection(*proxy.sockets[0].getsockname())
            writer.write(sent)
            writer.write_eof()
            answer = await reader.read(-1)
            writer.close()
            return answer, time.perf_counter() - began


async def _together(connections: int, *, latency_seconds: float) -> float:
    """The seconds that so many connections take at the same time."""
    began = time.perf_counter()
    await asyncio.gather(*(_echoed(b"ping", latency_seconds=latency_seconds) for _ in range(connections)))
    return time.perf_counter() - began


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
    writer.close()
