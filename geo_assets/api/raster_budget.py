"""How much one picture may cost, and who may draw a large one.

Here: the limits, and the account that each request has. Not here: what a read costs (`raster_cost`), how many requests
draw at once (`drawing`), and what the parameters say (`raster_parameters`).
"""

import threading

from geo_assets.api.problems import Busy, RequestTooLarge
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
        """Take what a read costs, one of so many ``parts`` alike that become the bands of one picture.

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
