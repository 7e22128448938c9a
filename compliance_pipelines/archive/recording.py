"""Committing a part and writing it into the catalogue.

Here: the manifest's put, the catalogue's rows with the audit entry in one transaction. Not here: making the object.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.errors import AdoptionError
from compliance_pipelines.archive.readback import ColdArchive, read_manifest
from compliance_pipelines.archive.self_audit import archive_entry, audit_log
from compliance_pipelines.archive.store_holds import hold_new_part
from compliance_pipelines.encryption.catalogue import record_key_in_catalogue
from compliance_pipelines.ledger.signing import signer_in_charge
from compliance_pipelines.object_store.port import ObjectExistsError

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class StoredManifest:
    """A manifest as the store has it.

    Attributes:
        manifest: what it says.
        data: its bytes.
        version: what the store calls it, where it keeps versions.
    """

    manifest: Manifest
    data: bytes
    version: str | None


def put_manifest(services: Services, manifest: Manifest) -> StoredManifest:
    """Sign the manifest and put it, which commits the part.

    Where a manifest of this key is there already, because the answer of the store to an earlier put was lost, that one
    counts.

    Raises:
        ManifestError: there is one, and it is not ours.
        AdoptionError: there is one of ours for another object.
        LedgerError: the settings do not have the key that signs for the ledger.
        BrokenPromiseError: it is there, and not locked as it is to be.
        ObjectStoreError: the store failed.
    """
    data = manifest.to_bytes(signer_in_charge(services))
    try:
        info = services.store.put_bytes(manifest.manifest_key, data)
    except ObjectExistsError:
        found, data = read_manifest(ColdArchive.of(services), manifest.manifest_key)
        if (found.root, found.object_sha256) != (manifest.root, manifest.object_sha256):
            raise AdoptionError(
                f"{services.store.locate(manifest.manifest_key)} is there already and commits another object than the "
                f"one beside it: run `compliance verify {manifest.day}`"
            ) from None
        return StoredManifest(found, data, services.store.confirm(found.manifest_key).version)
    return StoredManifest(manifest, data, info.version)


def catalogue_row(services: Services, stored: StoredManifest, object_version: str | None) -> dict[str, object]:
    """What the catalogue says of a part, by column.

    Args:
        services: the opened services.
        stored: what was committed.
        object_version: what the store calls the object, where it keeps versions.
    """
    manifest = stored.manifest
    return {
        "day": manifest.day,
        "part": manifest.part,
        "archive_location": services.store.locate(manifest.object_key),
        "object_key": manifest.object_key,
        "object_sha256": manifest.object_sha256,
        "object_bytes": manifest.object_bytes,
        "manifest_key": manifest.manifest_key,
        "manifest_sha256": hashlib.sha256(stored.data).hexdigest(),
        "entry_count": manifest.entry_count,
        "canonical_bytes": manifest.canonical_bytes,
        "first_id": manifest.first_id,
        "last_id": manifest.last_id,
        "root": manifest.root,
        "object_version": object_version,
        "manifest_version": stored.version,
        "encryption": None if manifest.encryption is None else json.dumps(manifest.encryption.to_json()),
    }


def record_part(
    services: Services,
    connection: sqlalchemy.Connection,
    stored: StoredManifest,
    object_version: str | None,
    *,
    adopted: bool,
) -> None:
    """Write a committed part into the catalogue, its segments, and the audit entry, in one transaction.

    Where a legal hold covers its day, the store holds it before it is recorded.

    Args:
        services: the opened services.
        connection: without an open transaction.
        stored: what was committed.
        object_version: what the store calls the object, where it keeps versions.
        adopted: whether another run made the part.

    Raises:
        EncryptionError: the key of an encrypted object is on no record, or another one is.
        ObjectStoreError: the store failed, or does not hold what a legal hold covers.
        LockBusyError: a new hold waits for deletions.
    """
    manifest = stored.manifest
    data_key = None
    if manifest.encryption is not None:
        data_key = services.data_keys.record_of(manifest.object_key, manifest.encryption)
    known = {manifest.object_key: object_version, manifest.manifest_key: stored.version}
    versions = {key: version for key, version in known.items() if version is not None}
    with connection.begin():
        hold_new_part(services, connection, manifest, versions)
        connection.execute(sql.INSERT_PART, catalogue_row(services, stored, object_version))
        if data_key is not None:
            record_key_in_catalogue(connection, data_key)
        connection.execute(
            sql.INSERT_ARCHIVED_SEGMENTS,
            {
                "seqs": [segment.seq for segment in manifest.segments],
                "day": manifest.day,
                "part": manifest.part,
            },
        )
        audit_log(services).append_within(connection, archive_entry(services, manifest, adopted=adopted))
