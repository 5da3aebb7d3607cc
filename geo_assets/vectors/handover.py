"""Layers on their way from the process that reads a stranger's file to the one that loads it, by files in scratch.

Here: what lies in that folder, and both ends of it. `layers.json` says which layers there are; each `<n>.arrows` is a
stream of Arrow batches, which is loaded while it grows. Not here: reading the file (`vectors.reading`), the database
(`vectors.load`). What the reading process writes is not trusted.
"""

import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyproj
from pydantic import BaseModel, ConfigDict, TypeAdapter

from geo_assets.raster.crs import known_crs
from geo_assets.vectors.errors import UnloadableValue, UnreadableVector

_LAYERS, _DONE, _FAILED, _STOP = "layers.json", "done", "failed", "stop"
_WAIT_SECONDS = 0.005
_MOST_DESCRIPTION_BYTES = 64 * 1024**2
_MOST_NAME_CHARACTERS = 1_000
"""Names stand in items, comments and reports as they are; PostgreSQL's own have 63 bytes."""


class ReadingFailed(Exception):
    """The process that reads the file ended before its end: the reason is with whoever started it."""


class LayerDescription(BaseModel):
    """What is known of a layer before its rows: ``geometry_type`` is GDAL's name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str
    name: str
    driver: str
    geometry_type: str | None
    crs: str
    geometry: str
    fid: str | None
    places: tuple[str, ...] = ()
    """The columns of a CSV file that its geometries are made of: they are no attributes."""


_DESCRIPTIONS = TypeAdapter(list[LayerDescription])


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer that is handed over; its batches may be read more than once."""

    described: LayerDescription
    crs: pyproj.CRS
    number: int
    handover: "Handover"

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.described.name

    @property
    def driver(self) -> str:
        """The driver of GDAL that read it."""
        return self.described.driver

    @property
    def geometry(self) -> str:
        """The column of its geometries."""
        return self.described.geometry

    @property
    def fid(self) -> str | None:
        """The column of its features' numbers."""
        return self.described.fid

    @property
    def places(self) -> tuple[str, ...]:
        """The columns that its geometries were made of."""
        return self.described.places

    def attributes(self, schema: pa.Schema) -> list[pa.Field]:
        """The fields that become columns."""
        return [each for each in schema if each.name not in (self.geometry, self.fid, *self.places)]

    @contextmanager
    def open(self) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """The layer's schema, and its batches as they come.

        Raises ReadingFailed, and UnreadableVector for what is no stream of Arrow's.
        """
        with self.handover.open_growing(f"{self.number}.arrows") as file:
            try:
                reader = pa.ipc.open_stream(file)
            except (pa.ArrowException, OSError) as error:
                raise UnreadableVector(f"Layer {self.name} was handed over broken: {error}.") from error
            schema = reader.schema
            names = [each for each in (self.geometry, self.fid, *self.places) if each is not None]
            _check_names(schema.names)
            if any(schema.get_field_index(name) < 0 for name in names):
                raise UnreadableVector(f"Layer {self.name} was handed over without the columns it was described with.")
            yield schema, _checked_batches(reader, self.name)


def _check_names(names: Sequence[str]) -> None:
    """Raise UnloadableValue where two columns have one name, or one has a name that would fill its item."""
    name, times = Counter(names).most_common(1)[0] if names else ("", 1)
    if times > 1:
        raise UnloadableValue(
            f"The file has {times:,} columns called {name[:100]!r}.", remedy="Rename all but one of them in the file."
        )
    if (longest := max(map(len, names), default=0)) > _MOST_NAME_CHARACTERS:
        raise UnloadableValue(
            f"The file has a layer or column with a name of {longest:,} characters; {_MOST_NAME_CHARACTERS:,} fit.",
            remedy="Rename it in the file.",
        )


def _checked_batches(reader: pa.RecordBatchReader, name: str) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = reader.read_next_batch()
            for column in batch.columns:
                # Text is checked where it is encoded, with its column's name.
                column.validate(full=not _holds_text(column.type))
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            raise UnreadableVector(f"Layer {name} was handed over broken: {error}.") from error
        yield batch


def _holds_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


@dataclass(frozen=True, slots=True)
class Handover:
    """The folder. One process writes, one reads, and a third says how the writing ended."""

    folder: Path

    # --- by whoever starts both

    def end(self, *, failed: bool) -> None:
        """Say that no more is written."""
        (self.folder / (_FAILED if failed else _DONE)).touch()

    def stop(self) -> None:
        """Say that the reader wants no more."""
        (self.folder / _STOP).touch()

    # --- by the process that reads the file

    def is_stopped(self) -> bool:
        """Whether to stop writing."""
        return (self.folder / _STOP).exists()

    def describe(self, layers: Sequence[LayerDescription]) -> None:
        """Say which layers there are, before their rows."""
        path = self.folder / f"{_LAYERS}.new"
        path.write_bytes(_DESCRIPTIONS.dump_json(list(layers)))
        path.rename(self.folder / _LAYERS)

    def write(self, number: int, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Write the batches of a layer as they come."""
        with (
            pa.OSFile(str(self.folder / f"{number}.arrows"), "wb") as file,
            pa.ipc.new_stream(file, schema) as stream,
        ):
            for batch in batches:
                stream.write_batch(batch)

    # --- by the process that loads

    def layers(self, *, assume_crs: str | None) -> list[Layer]:
        """The layers, as soon as they are known; their CRS may be the source's own. Raises as `Layer.open` does."""
        with self.open_growing(_LAYERS) as file:
            told = file.read(_MOST_DESCRIPTION_BYTES, whole=True)
        try:
            described = _DESCRIPTIONS.validate_json(told)
            for each in described:
                _check_names([each.name])
            return [
                Layer(each, known_crs(each.crs, assume_crs=assume_crs), number, self)
                for number, each in enumerate(described)
            ]
        except ValueError as error:
            raise UnreadableVector(f"Its layers were handed over broken: {error}.") from error

    def wait_for_end(self) -> None:
        """Until all was read. Raises ReadingFailed where the end was not reached."""
        while not self._has_ended():
            time.sleep(_WAIT_SECONDS)
        self._check_end()

    @contextmanager
    def open_growing(self, name: str) -> Iterator["_GrowingFile"]:
        """A file of the folder, once it is there. Raises ReadingFailed where it never comes."""
        while True:
            ended = self._has_ended()
            with suppress(FileNotFoundError):
                descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW)
                break
            if ended:
                self._check_end()
                raise UnreadableVector(f"Its layers were handed over broken: there is no {name}.")
            time.sleep(_WAIT_SECONDS)
        with _GrowingFile(descriptor, self._has_ended, self._check_end) as file:
            yield file

    def _has_ended(self) -> bool:
        return (self.folder / _DONE).exists() or (self.folder / _FAILED).exists()

    def _check_end(self) -> None:
        if (self.folder / _FAILED).exists():
            raise ReadingFailed


class _GrowingFile(io.RawIOBase):
    """A file that is read while it is written: who reads past what is there waits for more."""

    def __init__(self, descriptor: int, has_ended: Callable[[], bool], check_end: Callable[[], None]) -> None:
        super().__init__()
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self._has_ended, self._check_end = has_ended, check_end

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, *, whole: bool = False) -> Any:
        """Up to ``size`` bytes, fewer at the end; for a ``whole`` file, those that are there. Raises ReadingFailed."""
        parts, left = [], size
        while left > 0:
            ended = self._has_ended()
            part = self._file.read(left)
            if part:
                parts.append(part)
                left -= len(part)
            elif whole:
                break
            elif ended:  # what was written before counts first: of two reasons the earlier one stands
                self._check_end()
                break
            else:
                time.sleep(_WAIT_SECONDS)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._file.close()
        super().close()
