"""Searching a copy of a bucket, without a database.

Here: which parts a copy has, and their relation. Not here: whether the copy is whole, which is for `compliance verify
--offline` to tell: a copy does not say what should be in it but by its ledger, which is not looked at here.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from compliance_pipelines.archive.errors import ManifestError
from compliance_pipelines.archive.layout import PREFIX, PartKey, parse_key
from compliance_pipelines.archive.readback import ColdArchive, read_manifest
from compliance_pipelines.base.printable import printable
from compliance_pipelines.encryption.data_keys import DataKeys
from compliance_pipelines.ledger.log_reading import read_chain
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectMissingError
from compliance_pipelines.search.errors import PartsNotReadError, SearchError
from compliance_pipelines.search.fetching import fetch_parts, silent
from compliance_pipelines.search.folder import private_folder
from compliance_pipelines.search.plan import PartToRead, with_price
from compliance_pipelines.search.prices import LIST_PRICES
from compliance_pipelines.search.relation import Entries
from compliance_pipelines.search.searching import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.search.fetching import Fetched
    from compliance_pipelines.search.period import Period
    from compliance_pipelines.search.plan import Plan
    from compliance_pipelines.search_filters import Wanted


@contextmanager
def searched_copy(  # noqa: PLR0913 - what a search is about, and who is told
    directory: Path,
    key: VerifierKey,
    archive_keys: KeyEncryptionKeys,
    period: Period,
    wanted: Wanted,
    *,
    on_plan: Callable[[Plan], bool],
    partial: bool = False,
    fetched: Fetched = silent,
) -> Iterator[Found | None]:
    """Bring together the entries of a copy, of each part the newest revision; see :func:`~.searching.searched`.

    Args:
        directory: the copy; nothing is written there.
        key: a key of the ledger, the first one or a later one.
        archive_keys: what unwraps the keys of encrypted parts.
        period: of the entries.
        wanted: which of them.
        on_plan: told the plan before any part is read; whether to go on.
        partial: leave out parts that cannot be read, instead of failing.
        fetched: told of bytes as they arrive.

    Yields:
        What was found; None where it was not to go on.

    Raises:
        SearchError: the directory is none, or has no archives.
        PartsNotReadError: a part cannot be read, and nothing may be left out.
        KeyRecordError: the copy's records about keys do not make a chain.
        StagingError: the disk has no room.
        ObjectStoreError: the directory cannot be read.
    """
    if not (directory / PREFIX).is_dir():
        raise SearchError(
            f"{directory} is no copy of a bucket with archives: it must be the directory that holds {PREFIX}"
        )
    store = LocalObjectStore(directory)
    archive = ColdArchive(store, read_chain(store, key), keys=DataKeys(store, archive_keys))
    manifests, problems = _manifests(archive, period)
    if problems and not partial:
        raise PartsNotReadError(problems)
    parts = tuple(PartToRead.of_manifest(manifest) for manifest in manifests)
    stored = len(parts), sum(part.object_bytes for part in parts)
    plan = with_price(parts, period, wanted, LIST_PRICES["local"], stored=stored, gaps=tuple(problems))
    if not on_plan(plan):
        yield None
        return
    with private_folder(None) as folder:
        came = fetch_parts(archive, plan.parts, folder, partial=partial, fetched=fetched)
        yield Found(Entries(came.files, period, wanted), plan, came.object_bytes, 0, came.left_out)


def _manifests(archive: ColdArchive, period: Period) -> tuple[list[Manifest], list[str]]:
    """The manifest of each part of the period, of its newest revision; and what is wrong with others."""
    found: list[Manifest] = []
    problems: list[str] = []
    seen: dict[int, str] = {}
    for _, revisions in groupby(_keys(archive, period), key=lambda key: key.family):
        key = max(revisions, key=lambda key: key.revision)
        try:
            manifest, _ = read_manifest(archive, key.manifest_key)
        except ObjectMissingError:
            problems.append(f"no manifest commits {key.object_key}")
            continue
        except ManifestError as error:
            problems.append(printable(str(error)))
            continue
        twice = [seen[segment.seq] for segment in manifest.segments if segment.seq in seen]
        if twice:
            problems.append(f"{key.object_key} holds segments that {twice[0]} holds, too")
            continue
        seen.update({segment.seq: key.object_key for segment in manifest.segments})
        found.append(manifest)
    return found, problems


def _keys(archive: ColdArchive, period: Period) -> Iterator[PartKey]:
    """The keys of objects and manifests of the period, those of a part together."""
    for info in archive.store.list(PREFIX):
        key = parse_key(info.key)
        if key is not None and period.first_day <= key.day <= period.last_day:
            yield key
