"""Logs made up for tests: records sealed over days, published pass by pass, as sealing does."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.checkpoint import Checkpoint, Signer, SigningKey, sign_checkpoint
from compliance_pipelines.ledger.log_reading import EMPTY_LOG
from compliance_pipelines.ledger.publication import publish
from compliance_pipelines.ledger.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from compliance_pipelines.ledger.head import LedgerHead
    from compliance_pipelines.ledger.log_reading import LogHead
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.object_store.port import ObjectStore

KEY: Final = SigningKey("tests.example/log", bytes(range(32)))
BEGIN: Final = datetime(2026, 7, 1, tzinfo=UTC)


def record(seq: int, sealed_at: datetime = BEGIN, *, variant: int = 0) -> Segment:
    """A segment record; another variant has another root."""
    root = random.Random(f"{seq} {variant}").randbytes(32)  # noqa: S311 - reproducible
    return Segment(seq, date(2026, 6, 1), 10 * seq, 10 * seq + 10, seq + 1, seq + 1, 1, root, sealed_at)


def signed(head: LedgerHead, key: Signer = KEY) -> str:
    """The checkpoint over a head."""
    return sign_checkpoint(Checkpoint(key.name, head.size, head.root), key)


def no_step(_name: str) -> None:
    """Let a pass go on."""


def extend(
    store: ObjectStore,
    log: LogHead,
    records: Sequence[LedgerRecord],
    step: Callable[[str], None] = no_step,
    key: Signer = KEY,
) -> LogHead:
    """Publish these records."""
    return publish(store, log, records, signed(log.head.extended(records), key), step)


def made_log(store: ObjectStore, passes: Sequence[int], *, hours: int = 6, variant: int = 0) -> LogHead:
    """A log of passes that sealed so many segments each, some hours apart."""
    log = EMPTY_LOG
    for number, count in enumerate(passes):
        sealed_at = BEGIN + number * timedelta(hours=hours)
        first = log.head.size
        log = extend(store, log, [record(seq, sealed_at, variant=variant) for seq in range(first, first + count)])
    return log
