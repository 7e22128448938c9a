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
    from collections.abc import Sequence

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

    Args:
        files: the files.
        period: only entries of this time.
        wanted: only these.
    """

    def __init__(self, files: Sequence[StagedFile], period: Period, wanted: Wanted) -> None:
        super().__init__(SCHEMA, [_of_file(file) for file in files])
        kind = pa.timestamp("us", tz="UTC")
        time = ds.field("timestamp")
        only = (time >= pa.scalar(period.start, kind)) & (time < pa.scalar(period.end, kind))
        further = expression_of(wanted)
        self._only = only if further is None else only & further

    def scanner(self, columns: object = None, filter: ds.Expression | None = None, **_: Any) -> ds.Scanner:  # noqa: A002, ANN401 - pyarrow's signature
        """A scan of some columns under a condition; how far it reads ahead is decided here."""
        return super().scanner(
            columns=columns,
            filter=self._only if filter is None else self._only & filter,
            batch_size=_BATCH_ROWS,
            batch_readahead=_BATCHES_AHEAD,
            fragment_readahead=_FILES_AHEAD,
        )


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
