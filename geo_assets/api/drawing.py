"""So many requests draw at once, and so many wait: the others are told when to come again.

Here: the places of requests that open rasters, and how long their answers may take to be fetched. Not here: how much
one of them may cost (`raster_budget`).
"""

import asyncio
import os
import re
import time
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_assets.api.problems import Busy, correlation_id_of, problem_response
from geo_assets.api.raster_budget import DrawingBudget

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
