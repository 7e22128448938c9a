"""Parts as Parquet files: how their rows are written and read.

Here: encodings, row groups, the file's own key-value metadata; the one place where client-side encryption enters
(the key that the writer and the reader are given). Not here: whether the rows are the right ones.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from compliance_pipelines.archive.errors import ArchiveError
from compliance_pipelines.archive.fingerprints import fingerprint
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from pathlib import Path
    from types import TracebackType

    from compliance_pipelines.encryption.data_key import DataKey

FORMAT: Final = "audit-archive/2"
COMPRESSION: Final = "zstd"

# Level 1 is the smallest and the fastest at once on audit entries: the levels above cost up to four times the time and
# gain nothing. Dictionaries pay only where values repeat; deltas of growing numbers are what zstd cannot see by itself.
# Other strings stay plain: their lengths apart from their bytes save 1.5 % and shut out readers that do not know
# DELTA_LENGTH_BYTE_ARRAY, fastparquet among them (decision 68).
_COMPRESSION_LEVEL: Final = 1
_DICTIONARY_COLUMNS: Final = ("user_id", "action", "resource_type", "result")
_ENCODINGS: Final = {
    "id": "DELTA_BINARY_PACKED",
    "timestamp": "DELTA_BINARY_PACKED",
    "created_at": "DELTA_BINARY_PACKED",
    "tx_id": "DELTA_BINARY_PACKED",
}
# The smallest and the largest of what is random, or is read with its row only, narrow nothing down.
_WITHOUT_STATISTICS: Final = ("metadata", "nonce", "commitment")
_BLOOM_FILTER_COLUMNS: Final = ("user_id", "log_entry_id", "resource_id")
_BLOOM_FILTER_FALSE_POSITIVES: Final = 0.05

# A row group is what a writer and a reader keep in memory. The bound in bytes is for entries of up to a MiB each. A
# column of it is one page: smaller ones take longer both ways, and spare nobody who reads row groups.
ROW_GROUP_ROWS: Final = 65_536
_ROW_GROUP_BYTES: Final = 64 * 2**20
_READ_BATCH_ROWS: Final = 32_768
# More than a row group ever has, so that a column is one data page in it whatever its values are, and a dictionary
# never gives way to plain values in a second one: of several pages of a column DuckDB decrypts the first one alone.
_ONE_PAGE: Final = 2**30
# What the format allows, and what a writer's bounds lead to at most, with room: a reader refuses more before it
# decompresses anything.
MOST_GROUP_ROWS: Final = 131_072
_MOST_GROUP_BYTES: Final = 256 * 2**20

_MAGIC: Final = b"PAR1"
_ENCRYPTED_MAGIC: Final = b"PARE"
_FOOTER_LENGTH_BYTES: Final = 4
_READ_FOR_FOOTER: Final = 64 * 2**10
# Whatever a damaged file makes of pyarrow: its own errors, and those of Python that leave it for names that are no
# UTF-8, numbers that fit nowhere, memory that is not there.
_DECODING_ERRORS: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
)

_KEY_PREFIX: Final = "compliance_pipelines."
_SHOWN: Final = 300


class UnreadableParquetError(ArchiveError):
    """A file is no Parquet file, is damaged, or is no part of the audit archive."""


class ByteSink(Protocol):
    """What the Parquet writer needs of a binary file."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`."""
        ...


@dataclass(frozen=True)
class PartLabel:
    """What a file says about itself in its key-value metadata."""

    day: str
    part: str
    root: str

    @classmethod
    def of(cls, day: date, part: int, root: bytes) -> PartLabel:
        """The label of a part."""
        return cls(day.isoformat(), str(part), root.hex())

    def to_metadata(self) -> dict[str, str]:
        """The key-value pairs of the Parquet footer."""
        values = {"format": FORMAT, "day": self.day, "part": self.part, "root": self.root}
        return {_KEY_PREFIX + name: value for name, value in values.items()}

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes] | None) -> PartLabel | None:
        """The label in a footer, or None where there is none of this format."""

        def value(name: str) -> str:
            return (metadata or {}).get((_KEY_PREFIX + name).encode(), b"").decode("utf-8", "replace")

        return cls(value("day"), value("part"), value("root")) if value("format") == FORMAT else None


def writer_options(entry_count: int, key: DataKey | None) -> dict[str, Any]:
    """What pyarrow's writer is asked for.

    Args:
        entry_count: rows of the file, which size the Bloom filters.
        key: what the file is encrypted with; None writes it plain.
    """
    distinct = max(1, min(entry_count, ROW_GROUP_ROWS))
    # pyarrow refuses Bloom filters in encrypted files, where they would give away which values are there.
    bloom_filters = {
        name: {"ndv": distinct, "fpp": _BLOOM_FILTER_FALSE_POSITIVES} for name in _BLOOM_FILTER_COLUMNS if key is None
    }
    return {
        "version": "2.6",
        "compression": COMPRESSION,
        "compression_level": _COMPRESSION_LEVEL,
        "use_dictionary": list(_DICTIONARY_COLUMNS),
        "column_encoding": dict(_ENCODINGS),
        "data_page_version": "1.0",
        "data_page_size": _ONE_PAGE,
        "dictionary_pagesize_limit": _ONE_PAGE,
        "max_rows_per_page": ROW_GROUP_ROWS,
        "write_statistics": [name for name in ENTRY_SCHEMA.names if name not in _WITHOUT_STATISTICS],
        "write_page_index": True,
        "write_page_checksum": True,
        "sorting_columns": [pq.SortingColumn(ENTRY_SCHEMA.get_field_index(name)) for name in ("id", "timestamp")],
        "bloom_filter_options": bloom_filters or None,
        "encryption_properties": None if key is None else pe.create_encryption_properties(key.secret),
        # Arrow's own description of the schema adds nothing to Parquet's types here.
        "store_schema": False,
    }


class _HashingFile:
    """A binary file that hashes what is written to it; Parquet writers only ever append."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        written = self._file.write(data)
        self.size += written
        return written

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return self._file.closed

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()


@dataclass(frozen=True)
class WrittenGroup:
    """A row group that was written.

    Attributes:
        rows: how many it has.
        fingerprint: of the rows as they were before they were encoded.
        end: the offset in the file at which it ends.
        sha256: of all bytes of the file up to there, as the writer meant them; 32 bytes.
    """

    rows: int
    fingerprint: bytes
    end: int
    sha256: bytes


@dataclass(frozen=True)
class WrittenFile:
    """A finished Parquet file.

    Attributes:
        rows: how many it has.
        size: its length in bytes.
        sha256: hex, of the bytes as the writer meant them.
        groups: its row groups; none where this process did not write the file.
        end: its last bytes, among which is the footer; none where this process did not write the file.
    """

    rows: int
    size: int
    sha256: str
    groups: tuple[WrittenGroup, ...] = ()
    end: bytes = b""


class PartWriter:
    """Writes the rows of one part, batch after batch, in bounded memory; a context manager.

    Args:
        path: the file to write; its content is replaced.
        label: what the file says about itself.
        entry_count: how many rows are expected, which sizes the bloom filters.
        key: what the file is encrypted with, in Parquet's own way, the footer included; None writes it plain.
    """

    def __init__(self, path: Path, label: PartLabel, entry_count: int, key: DataKey | None = None) -> None:
        self._file = _HashingFile(path)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._file, mode="w"),
            ENTRY_SCHEMA,
            **writer_options(entry_count, key),
        )
        self._writer.add_key_value_metadata(label.to_metadata())
        self._batches: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._rows = 0
        self._groups: list[WrittenGroup] = []
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an error the footer cannot be written either, and the first error is the one that matters.
        with suppress(OSError, pa.ArrowException) if kind is not None else nullcontext():
            try:
                self._writer.close()
            finally:
                self._file.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows in ENTRY_SCHEMA; they follow the rows before, ordered by id and timestamp.

        Raises:
            OSError: the file cannot be written.
        """
        offset = 0
        while offset < batch.num_rows:
            piece = batch.slice(offset, ROW_GROUP_ROWS - self._pending_rows)
            offset += piece.num_rows
            self._batches.append(piece)
            self._pending_rows += piece.num_rows
            self._pending_bytes += piece.nbytes
            if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= _ROW_GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._batches:
            table = pa.Table.from_batches(self._batches, ENTRY_SCHEMA)
            self._writer.write_table(table, row_group_size=max(1, self._pending_rows))
            self._rows += self._pending_rows
            self._groups.append(
                WrittenGroup(self._pending_rows, fingerprint(self._batches), self._file.size, self._file.sha256)
            )
        self._batches, self._pending_rows, self._pending_bytes = [], 0, 0

    def finish(self) -> WrittenFile:
        """Write what is left and the footer.

        Raises:
            OSError: the file cannot be written.
        """
        self._flush()
        self._writer.close()
        self._file.flush()
        return WrittenFile(
            self._rows, self._file.size, self._file.sha256.hex(), tuple(self._groups), _end_with_footer(self._path)
        )


def _end_with_footer(path: Path) -> bytes:
    """The last bytes of a Parquet file: the footer, and as much as a reader asks for that does not know its length."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(size - len(_MAGIC) - _FOOTER_LENGTH_BYTES)
        length = int.from_bytes(file.read(_FOOTER_LENGTH_BYTES), "little") + _FOOTER_LENGTH_BYTES + len(_MAGIC)
        file.seek(max(0, size - max(length, _READ_FOR_FOOTER)))
        return file.read()


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Raise UnreadableParquetError for whatever a damaged file makes of pyarrow, one line without control characters.

    Args:
        name: how the message calls the file.
    """
    try:
        yield
    except UnreadableParquetError:
        raise
    except _DECODING_ERRORS as error:
        reason = printable(" ".join(str(error).split()), _SHOWN) or type(error).__name__
        raise UnreadableParquetError(f"{name} cannot be decoded: {reason}") from error


def is_encrypted(path: Path) -> bool:
    """Whether a file begins as a Parquet file does whose footer is encrypted."""
    with path.open("rb") as file:
        return file.read(len(_ENCRYPTED_MAGIC)) == _ENCRYPTED_MAGIC


def has_no_end(path: Path) -> bool:
    """Whether a file begins as a Parquet file does, as far as it goes, and does not end as one: it was cut off."""
    with path.open("rb") as file:
        begin = file.read(len(_MAGIC))
        size = file.seek(0, 2)
        # An encrypted file begins and ends with another magic; which of both, its first bytes tell.
        magic = _ENCRYPTED_MAGIC if begin == _ENCRYPTED_MAGIC else _MAGIC
        if begin != magic[: len(begin)]:
            return False
        if size <= 2 * len(magic):
            return True
        file.seek(-len(magic), 2)
        return file.read() != magic


class PartReader:
    """Reads one part's file. What it says is only worth something where the file's hash was checked before.

    Attributes:
        label: what the file says about itself; None where it says nothing of this format.
        schema: the columns, their types, and whether they can be null.
        num_rows: how many rows the footer says there are.
        row_groups: in how many row groups.
        metadata: the footer.
    """

    def __init__(self, file: pq.ParquetFile, name: str) -> None:
        self._file = file
        self._name = name
        self.metadata: pq.FileMetaData = file.metadata
        self.label = PartLabel.from_metadata(file.metadata.metadata)
        self.schema: pa.Schema = file.schema_arrow.remove_metadata()
        self.num_rows = int(file.metadata.num_rows)
        self.row_groups = int(file.num_row_groups)
        self._refuse_beyond_the_format()

    def _refuse_beyond_the_format(self) -> None:
        """Refuse what takes more memory than a row group of this format, before anything is decompressed.

        Of the groups alone: asking pyarrow about a column ends the whole process where its statistics are damaged.
        """
        rows = 0
        for number in range(self.row_groups):
            group = self.metadata.row_group(number)
            size = group.total_byte_size
            if not (0 <= group.num_rows <= MOST_GROUP_ROWS and 0 <= size <= _MOST_GROUP_BYTES):
                raise UnreadableParquetError(
                    f"{self._name} is no part: its row group {number} has {group.num_rows:,} rows in {size:,} bytes, "
                    f"and none has more than {MOST_GROUP_ROWS:,} in {_MOST_GROUP_BYTES:,}"
                )
            rows += group.num_rows
        if rows != self.num_rows:
            raise UnreadableParquetError(
                f"{self._name} contradicts itself: it has {rows:,} rows in row groups and {self.num_rows:,} in all"
            )

    def ranges(self, column: str) -> list[tuple[Any, Any] | None]:
        """Smallest and largest value of a column in each row group; None where the file does not say.

        Raises:
            UnreadableParquetError: the file has no such column, or its statistics cannot be decoded.
        """
        with decoding(self._name):
            index = self.schema.get_field_index(column)
            found = (self.metadata.row_group(group).column(index).statistics for group in range(self.row_groups))
            return [(each.min, each.max) if each is not None and each.has_min_max else None for each in found]

    def batches(
        self, *, row_groups: Sequence[int] | None = None, columns: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows in the order of the file, at most one row group in memory at a time.

        Raises:
            UnreadableParquetError: a page cannot be decoded or its checksum does not match.
        """
        groups = range(self.row_groups) if row_groups is None else row_groups
        with decoding(self._name):
            for group in groups:
                # Decoding a row group in one thread is faster than Arrow's pool where the consumer is busy as well.
                for batch in self._file.iter_batches(
                    _READ_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False
                ):
                    batch.validate(full=True)
                    yield batch


@contextmanager
def open_part(source: object, *, name: str, key: DataKey | None = None) -> Iterator[PartReader]:
    """Open the Parquet file of a part.

    A file whose hash is not the committed one is opened in a process of its own only (examiner.py).

    Args:
        source: a path or a seekable binary file.
        name: how messages call it.
        key: what the file must be encrypted with; None reads plain Parquet.

    Raises:
        UnreadableParquetError: it is no Parquet file, its footer is damaged, or it is beyond the bounds of a part.
    """
    with ExitStack() as opened:
        try:
            file = pq.ParquetFile(
                source,
                memory_map=False,
                page_checksum_verification=True,
                decryption_properties=None if key is None else pe.create_decryption_properties(key.secret),
            )
            opened.callback(file.close, force=True)
            reader = PartReader(file, name)
        except _DECODING_ERRORS as error:
            reason = printable(" ".join(str(error).split()), _SHOWN) or type(error).__name__
            raise UnreadableParquetError(f"{name} is no readable Parquet file: {reason}") from error
        yield reader
