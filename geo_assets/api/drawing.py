"""How much one picture may cost, how many requests draw at once, and how many wait: others are told when to come again.

Here: the limits, the account of each request, and the places of requests that open rasters. Not here: what a read costs
(`raster_cost`), and what the parameters say (`rasters`).
"""

import asyncio
import os
import re
import threading
import time
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_assets.api.problems import Busy, RequestTooLarge, correlation_id_of, problem_response
from geo_assets.api.raster_cost import Cost

MOST_PIXELS_A_SIDE = 4096
"""Of a picture."""
MOST_DECODED_BYTES = 512 * 1024 * 1024
"""Of all blocks that are decoded for a request: seconds of work."""
MOST_HELD_BYTES = 600 * 1024 * 1024
"""Of what lies in memory at once for a request: the picture, work on it, and the pieces of rasters it is made of."""
LARGE_HELD_BYTES = 64 * 1024 * 1024
"""A request that holds more than this waits until no other of its size draws."""
MOST_OPENED = 256
"""Rasters that are opened for a request."""
SECONDS_FOR_A_LARGE_ONE = 12.0
"""So long a large request waits for another one."""

# What work on a picture takes for each value beyond the value itself: 64-bit floats, a few times over. Colours take no
# such memory, but numpy looks them up without letting another thread run: two million in a quarter of a second.
_WORK_BYTES = {"picture": 32, "statistics": 64, "algorithm": 128, "colours": 256, "categories": 256}
_LARGE = threading.Lock()


class DrawingBudget:
    """The account of one request; its reads may be in many threads.

    ``work`` says what is done to the picture: one of `_WORK_BYTES`. ``cover_scale`` is the finer
    grid that a shape's share of each pixel is counted on.
    """

    def __init__(self, *, work: str = "picture", cover_scale: int = 0) -> None:
        self._work_bytes = _WORK_BYTES[work]
        self._cover_scale = cover_scale
        self._lock = threading.Lock()
        self._decoded_bytes = 0
        self._opened = 0
        self._is_large = False
        self.start_picture()

    def start_picture(self) -> None:
        """What is held from here on is for another picture: the one before is gone."""
        self._samples = self._pieces = self._values_bytes = self._cover_bytes = 0

    def count_opened(self) -> None:
        """One more raster is opened. Raises RequestTooLarge."""
        with self._lock:
            self._opened += 1
        if self._opened > MOST_OPENED:
            raise RequestTooLarge(
                f"The request needs more than {MOST_OPENED} rasters.", remedy="Ask for fewer items or assets."
            )

    def charge(self, cost: Cost, *, parts: int = 1, outputs: int = 0, has_colours: bool = False) -> None:
        """Take what a read costs, one of ``parts`` equal reads that become the bands of one picture.

        ``outputs`` are the bands that an expression makes of them; ``has_colours`` says that the raster has a palette.

        Raises RequestTooLarge, and Busy where another large request does not end.
        """
        if max(cost.width, cost.height) > MOST_PIXELS_A_SIDE:
            raise RequestTooLarge(
                f"The picture would have {cost.width:,} x {cost.height:,} pixels; at most {MOST_PIXELS_A_SIDE:,} "
                "a side are drawn.",
                remedy="Ask with max_size=1024, for a smaller box, or for tiles.",
            )
        with self._lock:
            if has_colours:
                self._work_bytes = max(self._work_bytes, _WORK_BYTES["colours"])
            self._charge_decoded(cost)
            held = self._charge_held(cost, parts=parts, outputs=outputs)
            if held > LARGE_HELD_BYTES and not self._is_large:
                self._is_large = _LARGE.acquire(timeout=SECONDS_FOR_A_LARGE_ONE)
                if not self._is_large:
                    raise Busy("Another large picture is being drawn.", remedy="Try again, or ask for fewer pixels.")

    def _charge_decoded(self, cost: Cost) -> None:
        decoded = self._decoded_bytes + cost.decoded_bytes
        if decoded > MOST_DECODED_BYTES:
            without = "" if cost.has_overviews else " from a raster without overviews"
            raise RequestTooLarge(
                f"The request would decode {decoded:,} bytes{without}; at most {MOST_DECODED_BYTES:,} are decoded.",
                remedy="Ask for a smaller box, a deeper tile or fewer bands"
                + (", with a smaller max_size." if cost.has_overviews else "; or make a COG of it, with overviews."),
            )
        self._decoded_bytes = decoded

    def _charge_held(self, cost: Cost, *, parts: int, outputs: int) -> int:
        samples = cost.samples * parts + outputs * cost.width * cost.height
        self._samples = max(self._samples, samples)
        self._pieces = max(self._pieces, cost.held_bytes)
        self._values_bytes += cost.samples * (cost.item_bytes + 2)
        self._cover_bytes = max(self._cover_bytes, cost.width * cost.height * self._cover_scale**2)
        held = self._samples * self._work_bytes + self._values_bytes + self._pieces + self._cover_bytes
        if held > MOST_HELD_BYTES:
            raise RequestTooLarge(
                f"The request for {cost.width:,} x {cost.height:,} pixels of {cost.bands} bands would hold {held:,} "
                f"bytes in memory; at most {MOST_HELD_BYTES:,} are held.",
                remedy="Ask with a smaller max_size, for a smaller box, or for fewer bands or assets.",
            )
        return held

    def close(self) -> None:
        """The request has ended: let another large one draw."""
        with self._lock:
            if self._is_large:
                self._is_large = False
                _LARGE.release()


MOST_WAITING = 128
SECONDS_OF_WAITING = 15.0
SECONDS_OF_FETCHING = 120.0
SECONDS_OF_STALLING = 10.0
"""An answer is cut off whose caller takes longer, as a whole or for one piece: until then it lies in memory."""
MOST_UNFETCHED_BYTES = 128 * 1024 * 1024
"""While answers of more than this lie in memory, nothing more is drawn."""
_SENT_AT_ONCE = 64 * 1024
# What opens rasters or makes pictures: everything else below /raster only asks the database.
_DRAWS = re.compile(
    r"/(tiles/[^/]+/[^/]+/[^/]+/|preview|bbox/|feature|statistics|asset_statistics|point/|info|^/raster/colorMaps/)"
)

# The parameters that make a picture more than its values.
_WORKS = {"algorithm": ("algorithm",), "colours": ("colormap", "colormap_name", "color_formula")}
log = structlog.get_logger("geo_assets.api")


def most_drawing() -> int:
    """How many requests draw at once: one a core, but two at least and four at most, since each takes memory."""
    return max(2, min(4, os.cpu_count() or 1))


class DrawingPlaces:
    """The middleware around the part that draws; gives each request its budget, as ``request.state.drawing``."""

    def __init__(self, app: ASGIApp, *, most: int | None = None, most_waiting: int = MOST_WAITING) -> None:
        self._app = app
        self._places = asyncio.Semaphore(most or most_drawing())
        self._waiting = 0
        self._most_waiting = most_waiting
        self.unfetched_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request draw when there is a place, or answer that there is none."""
        if scope["type"] != "http" or not _DRAWS.search(scope["path"]):
            await self._app(scope, receive, send)
            return
        if not await self._take_place():
            busy = Busy("As many pictures are being drawn, and waited for, as this server takes on.")
            request = Request(scope)
            response = problem_response(busy, correlation_id=correlation_id_of(request), path=request.url.path)
            await response(scope, receive, send)
            return
        drawing = _Drawing(self, scope, send)
        try:
            await self._app(scope, receive, drawing.send)
        finally:
            drawing.end()

    def give_place(self) -> None:
        """A request draws no longer."""
        self._places.release()

    async def _take_place(self) -> bool:
        if self._waiting >= self._most_waiting or self.unfetched_bytes > MOST_UNFETCHED_BYTES:
            return False
        self._waiting += 1
        try:
            await asyncio.wait_for(self._places.acquire(), SECONDS_OF_WAITING)
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True


class _Drawing:
    """One request that has a place, until its answer begins."""

    def __init__(self, places: DrawingPlaces, scope: Scope, send: Send) -> None:
        self._budget = DrawingBudget(**_work(scope))
        scope.setdefault("state", {})["drawing"] = self._budget
        self._send = send
        self._places = places
        self._has_place = True
        self._is_cut_off = False

    def end(self) -> None:
        """Give the place to the next one."""
        self._budget.close()
        if self._has_place:
            self._has_place = False
            self._places.give_place()

    async def send(self, message: Message) -> None:
        """Send on; a large answer piece by piece, as its caller fetches them."""
        body = message.get("body", b"")
        if self._is_cut_off:
            return
        if message["type"] != "http.response.body" or len(body) <= _SENT_AT_ONCE:
            await self._send(message)
            return
        self._places.unfetched_bytes += len(body)
        self.end()
        try:
            await self._send_in_pieces(body, more_body=message.get("more_body", False))
        finally:
            self._places.unfetched_bytes -= len(body)

    async def _send_in_pieces(self, body: bytes, *, more_body: bool) -> None:
        deadline = time.monotonic() + SECONDS_OF_FETCHING
        for start in range(0, len(body), _SENT_AT_ONCE):
            end = start + _SENT_AT_ONCE
            piece = {"type": "http.response.body", "body": body[start:end], "more_body": end < len(body) or more_body}
            seconds = min(SECONDS_OF_STALLING, max(0.01, deadline - time.monotonic()))
            try:
                await asyncio.wait_for(self._send(piece), seconds)
            except TimeoutError:
                self._is_cut_off = True
                log.warning("answer_cut_off", bytes=len(body), fetched=start)
                return


def _work(scope: Scope) -> dict[str, Any]:
    """What a request does to its picture, by its path and query, for its budget."""
    request = Request(scope)
    query, path = request.query_params, request.url.path
    works = {name for name, wanted in _WORKS.items() if any(query.get(each) for each in wanted)}
    if "statistics" not in path:
        return {"work": "colours" if "colours" in works else "algorithm" if "algorithm" in works else "picture"}
    if query.get("categorical", "").strip().lower() not in ("", "0", "false", "f", "no", "n", "off"):
        works.add("categories")
    scale = query.get("cover_scale", "10")
    cover_scale = int(scale) if scale.isascii() and scale.isdigit() else 1000
    return {
        "work": next((name for name in ("categories", "algorithm") if name in works), "statistics"),
        "cover_scale": cover_scale if request.method == "POST" else 0,
    }
