"""All trials of a store, whichever it is.

Here: which ones a store gets. Not here: any trial (promises.py, s3_trials.py, gcs_trials.py).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.promises import trials_of_the_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.object_store.port import ObjectStore

_DAYS_OF_A_YEAR: Final = 366


def store_trials(store: ObjectStore, retention_years: int) -> list[HealthCheck]:
    """Try what the store is relied on for.

    Args:
        store: the store.
        retention_years: for which archives are kept.
    """
    checks = list(trials_of_the_port(store))
    if isinstance(store, LocalObjectStore):
        remedy = "put it on storage that somebody else administers, or keep archives in a bucket with Object Lock"
        return [*checks, HealthCheck("what is archived is locked", "a directory locks nothing", remedy, is_risk=True)]
    with tempfile.TemporaryDirectory() as directory:
        checks += _trials_of_its_service(store, _DAYS_OF_A_YEAR * retention_years, Path(directory))
    return checks


def _trials_of_its_service(store: ObjectStore, retention_days: int, pieces: Path) -> Iterator[HealthCheck]:
    # boto3 and Google's library take long to load.
    match store.uri.partition(":")[0]:
        case "s3":
            from compliance_pipelines.object_store.s3 import S3ObjectStore  # noqa: PLC0415
            from compliance_pipelines.object_store.s3_trials import trials_of_s3  # noqa: PLC0415

            if isinstance(store, S3ObjectStore):
                yield from trials_of_s3(store, retention_days, pieces)
        case "gs":
            from compliance_pipelines.object_store.gcs import GcsObjectStore  # noqa: PLC0415
            from compliance_pipelines.object_store.gcs_trials import trials_of_gcs  # noqa: PLC0415

            if isinstance(store, GcsObjectStore):
                yield from trials_of_gcs(store, retention_days, pieces)
