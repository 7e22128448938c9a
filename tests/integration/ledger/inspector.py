"""A look at database and cold store that takes nothing from the package for granted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlparse

from sqlalchemy import text

from tests.unit.ledger import stranger

if TYPE_CHECKING:
    from collections.abc import Iterable

    import sqlalchemy

    from compliance_pipelines.services import Services

FUNCTIONS: Final = Path(__file__).with_name("canonical.sql")

_SEGMENTS: Final = """
    SELECT seq, day::text, tx_from, tx_to, first_id, last_id, entry_count, encode(root, 'hex') AS root,
           stranger.microseconds(sealed_at)::bigint AS sealed_at
    FROM ledger_segments ORDER BY seq
"""
_RECORDS: Final = "SELECT stranger.record_bytes(segment) FROM ledger_segments AS segment ORDER BY seq"
_ENTRIES: Final = """
    SELECT entry.id, entry.log_entry_id, stranger.leaf_hash(entry) AS leaf_hash, array_agg(segment.seq) AS segments
    FROM audit_logs AS entry
    LEFT JOIN ledger_segments AS segment
        ON segment.day = (entry."timestamp" AT TIME ZONE 'UTC')::date
        AND segment.tx_from <= entry.tx_id AND entry.tx_id < segment.tx_to
    GROUP BY entry.*, entry.id, entry.log_entry_id, entry."timestamp" ORDER BY entry.id, entry."timestamp"
"""


@dataclass(frozen=True)
class Inspector:
    """Judges the ledger of one test."""

    services: Services
    superuser: sqlalchemy.Engine

    @property
    def public_key(self) -> stranger.PublicKey:
        """The key that must have signed everything."""
        return stranger.read_public_key(self.services.verifier_key.to_note_string())

    @property
    def checkpoint_path(self) -> Path:
        """The file of the checkpoint in the cold store."""
        return self._root / "audit-ledger/checkpoint"

    def tile_path(self, level: int | str, index: int, width: int) -> Path:
        """The file of a tile; the level of entry bundles is `entries`."""
        return self._root / stranger.tile_key(level, index, width)

    def size(self) -> int:
        """The size of the checkpoint in the cold store; 0 where there is none."""
        path = self.checkpoint_path
        return stranger.open_checkpoint(path.read_text(encoding="utf-8"), self.public_key)[0] if path.exists() else 0

    def objects(self) -> dict[str, bytes]:
        """The ledger's objects in the cold store."""
        paths = (path for path in self._root.glob("audit-ledger/**/*") if path.is_file())
        return {str(path.relative_to(self._root)): path.read_bytes() for path in paths}

    def cold_records(self) -> list[dict[str, Any]]:
        """Every segment record, rebuilt from the cold store alone."""
        objects = self.objects()
        return stranger.rebuild(objects, self.public_key) if objects else []

    def segments(self) -> list[dict[str, Any]]:
        """Every segment record of the database."""
        with self.superuser.connect() as connection:
            return [dict(row) for row in connection.execute(text(_SEGMENTS)).mappings()]

    def assert_each_is_sealed_once(self, log_entry_ids: Iterable[str]) -> None:
        """These entries, and no other, are in the hot store; each is in exactly one segment; every root is right.

        The cold store holds the same records, and the newest checkpoint of the database.
        """
        with self.superuser.connect() as connection:
            entries = connection.execute(text(_ENTRIES)).all()
            checkpoints = list(connection.execute(text("SELECT size FROM ledger_checkpoints ORDER BY size")).scalars())
            published = list(connection.execute(text("SELECT size FROM ledger_publications ORDER BY size")).scalars())
            records = [bytes(record) for record in connection.execute(text(_RECORDS)).scalars()]
        assert sorted(entry.log_entry_id for entry in entries) == sorted(log_entry_ids)
        assert {entry.log_entry_id: entry.segments for entry in entries if len(entry.segments) != 1} == {}
        leaves: dict[int, list[tuple[int, bytes]]] = {}
        for entry in entries:
            leaves.setdefault(entry.segments[0], []).append((entry.id, bytes(entry.leaf_hash)))
        segments = self.segments()
        assert sorted(leaves) == [segment["seq"] for segment in segments]
        for segment in segments:
            rows = leaves[segment["seq"]]
            assert stranger.tree_root([leaf for _, leaf in rows]).hex() == segment["root"]
            assert (rows[0][0], rows[-1][0], len(rows)) == (
                segment["first_id"],
                segment["last_id"],
                segment["entry_count"],
            )
        assert self.cold_records() == segments
        assert [stranger.record_bytes(segment) for segment in segments] == records
        assert checkpoints == published
        assert self.size() == max(checkpoints, default=0)

    @property
    def _root(self) -> Path:
        return Path(unquote(urlparse(self.services.store.uri).path))
