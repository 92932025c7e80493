"""Protocol Buffers' wire format, read where it lies in a file.

Weights take hundreds of megabytes of such a file, and a parser would hold all of them in memory, twice. Here a message
is walked field by field; values stay in the file until they are asked for. What a field claims is held against the
bytes that there are, nothing recurses, and the fields are counted, so that a file costs little whatever it claims.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAX_FIELDS = 300_000
"""Fields that are walked in one file. The networks with most layers have some 30,000."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""The kinds of fields; 3 and 4, groups, are in no file of today."""


class WireError(Exception):
    """The bytes are not such a message."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its number, its kind, the number that a varint is, and where its bytes lie."""

    number: int
    kind: int
    value: int
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return self.end - self.start

    @property
    def integer(self) -> int:
        """A varint as a signed number."""
        if self.kind != VARINT:
            raise WireError
        return self.value - (1 << 64) if self.value >> 63 else self.value


class Wire:
    """A file of one message. Closing it is left to the end of the last one who holds it."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._left = MAX_FIELDS

    @property
    def whole(self) -> Field:
        """The message that the file is."""
        return Field(0, BYTES, 0, 0, len(self.data))

    def fields(self, message: Field) -> Iterator[Field]:
        """The fields of a message, in order. Raises WireError where its bytes are none."""
        if message.kind != BYTES:
            raise WireError
        place, end = message.start, message.end
        while place < end:
            self._left -= 1
            if self._left < 0:
                raise WireError(f"it has more than {MAX_FIELDS:,} fields")
            tag, place = self._varint(place, end)
            number, kind = tag >> 3, tag & 7
            value, start = 0, place
            match kind:
                case 0:
                    value, place = self._varint(place, end)
                case 1:
                    place += 8
                case 2:
                    length, start = self._varint(place, end)
                    place = start + length
                case 5:
                    place += 4
                case _:
                    raise WireError
            if place > end or not 1 <= number < 1 << 29:
                raise WireError
            yield Field(number, kind, value, start, place)

    def text(self, field: Field) -> str:
        """A string. Raises WireError where it is none."""
        if field.kind != BYTES or field.size > 1 << 16:
            raise WireError
        try:
            return self.data[field.start : field.end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise WireError from error

    def integers(self, field: Field) -> tuple[int, ...]:
        """Signed numbers, one or many in a row as packed fields have them; for shapes."""
        if field.kind == VARINT:
            return (field.integer,)
        if field.kind != BYTES or field.size > 1 << 10:
            raise WireError
        found = []
        place = field.start
        while place < field.end:
            value, place = self._varint(place, field.end)
            found.append(value - (1 << 64) if value >> 63 else value)
        return tuple(found)

    def numbers(self, fields: list[Field], type_: np.dtype) -> np.ndarray:
        """A copy of the numbers of a repeated field, in as many pieces as there are, whose bytes are `type_`'s."""
        sizes = [field.size // type_.itemsize for field in fields]
        result = np.empty(sum(sizes), type_)
        place = 0
        for field, size in zip(fields, sizes, strict=True):
            result[place : place + size] = np.frombuffer(self.data, type_, size, field.start)
            place += size
        return result

    def varints(self, fields: list[Field]) -> np.ndarray:
        """The numbers of a repeated field of varints, as uint64. Raises WireError."""
        if any(field.kind == VARINT for field in fields):
            return np.array([field.value for field in fields if field.kind == VARINT], np.uint64)
        row = np.concatenate([np.frombuffer(self.data, np.uint8, f.size, f.start) for f in fields])
        ends = np.flatnonzero(row < 128)
        if len(ends) == 0 or ends[-1] != len(row) - 1:
            raise WireError
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends - starts + 1
        if lengths.max() > 10:
            raise WireError
        shift = (np.arange(len(row)) - np.repeat(starts, lengths)).astype(np.uint64) * np.uint64(7)
        return np.add.reduceat((row & 127).astype(np.uint64) << shift, starts)

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        """The number at `place`, and where it ends."""
        value = shift = 0
        while place < end and shift < 70:
            byte = self.data[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & 0xFFFFFFFFFFFFFFFF, place
            shift += 7
        raise WireError
