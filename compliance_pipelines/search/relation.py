"""The staged files as one table that can be scanned again and again.

Here: the columns, and the scan that DuckDB pushes columns and conditions into. Not here: the files, and DuckDB.

Each file is a dataset of its own, because each has a key of its own. Day and source are constants of a file, by which
whole files are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet.encryption as pe
from pyarrow.fs import LocalFileSystem

from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.search.wanted import expression_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from compliance_pipelines.search.fetching import StagedFile
    from compliance_pipelines.search.period import Period
    from compliance_pipelines.search_filters import Wanted

_HIDDEN: Final = frozenset({"nonce", "tx_id"})
_DAY: Final = "day"
_SOURCE: Final = "source"
SCHEMA: Final = pa.schema(
    [
        *(field for field in ENTRY_SCHEMA if field.name not in _HIDDEN),
        pa.field(_DAY, pa.date32(), nullable=False),
        pa.field(_SOURCE, pa.string(), nullable=False),
    ]
)
# Arrow reads ahead by default what takes hundreds of megabytes. So one row group is decoded while one is consumed.
_BATCH_ROWS: Final = 16_384
_BATCHES_AHEAD: Final = 1
_FILES_AHEAD: Final = 1


class Entries(ds.UnionDataset):  # type: ignore[misc]
    """The wanted entries of some files, scanned in bounded memory.

    One file is open at a time, however many there are: a dataset of all of them keeps something of each until the end.
    To others, this is a dataset without files of its own.

    Args:
        files: the files.
        period: only entries of this time.
        wanted: only these.

    Attributes:
        days: of the files.
    """

    def __init__(self, files: Sequence[StagedFile], period: Period, wanted: Wanted) -> None:
        super().__init__(SCHEMA, [])
        self._files = tuple(files)
        self._period = period
        self._wanted = wanted
        self.days = frozenset(file.day for file in files)

    def of_day(self, day: date) -> Entries:
        """Those of one day."""
        return Entries([file for file in self._files if file.day == day], self._period, self._wanted)

    def scanner(self, columns: list[str] | None = None, filter: ds.Expression | None = None, **_: Any) -> Scan:  # noqa: A002, ANN401 - pyarrow's signature
        """A scan of some columns under a condition."""
        kind = pa.timestamp("us", tz="UTC")
        time = ds.field("timestamp")
        only = (time >= pa.scalar(self._period.start, kind)) & (time < pa.scalar(self._period.end, kind))
        for further in (expression_of(self._wanted), filter):
            only = only if further is None else only & further
        return Scan(self._files, columns, only)


class Scan:
    """One scan; what DuckDB needs of a scanner of pyarrow's.

    Args:
        files: the files.
        columns: their names in order; None: all.
        only: the condition.
    """

    def __init__(self, files: Sequence[StagedFile], columns: list[str] | None, only: ds.Expression) -> None:
        self._files = files
        self._columns = columns
        self._only = only

    @property
    def projected_schema(self) -> pa.Schema:
        """The columns that come."""
        return SCHEMA if self._columns is None else pa.schema([SCHEMA.field(name) for name in self._columns])

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        schema = self.projected_schema
        for file in self._files:
            scanner = _of_file(file).scanner(
                columns=self._columns,
                filter=self._only,
                batch_size=_BATCH_ROWS,
                batch_readahead=_BATCHES_AHEAD,
                fragment_readahead=_FILES_AHEAD,
            )
            for batch in scanner.to_batches():
                yield batch.cast(schema) if batch.schema != schema else batch


def _of_file(file: StagedFile) -> ds.FileSystemDataset:
    decryption = None if file.key is None else pe.create_decryption_properties(file.key.secret)
    # Pages are checked as they are whenever a part is read; the whole file's hash was compared already.
    options = ds.ParquetFragmentScanOptions(
        pre_buffer=False, page_checksum_verification=True, decryption_properties=decryption
    )
    form = ds.ParquetFileFormat(default_fragment_scan_options=options)
    place = LocalFileSystem()
    constants = (ds.field(_DAY) == pa.scalar(file.day, pa.date32())) & (ds.field(_SOURCE) == file.source)
    groups = None if file.row_groups is None else list(file.row_groups)
    fragment = form.make_fragment(str(file.path), place, partition_expression=constants, row_groups=groups)
    return ds.FileSystemDataset([fragment], schema=SCHEMA, format=form, filesystem=place)
