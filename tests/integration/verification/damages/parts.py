"""Damage to objects and manifests in the cold store."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.layout import object_key, part_root
from compliance_pipelines.archive.manifest import Manifest, parse_manifest
from tests.integration.archive.days import overwrite
from tests.integration.verification.damages.damage import (
    OTHER_KEY,
    Damage,
    all_of,
    remove_part,
)
from tests.integration.verification.world import ARCHIVED, KEY, OTHER_ARCHIVED, PURGED

if TYPE_CHECKING:
    from tests.integration.verification.world import World


def _truncate(world: World) -> None:
    path = world.object_path(ARCHIVED)
    overwrite(path, path.read_bytes()[:-100])


def _swap(world: World) -> None:
    one, other = world.object_path(PURGED), world.object_path(OTHER_ARCHIVED)
    first, second = one.read_bytes(), other.read_bytes()
    overwrite(one, second)
    overwrite(other, first)


def _swap_manifests(world: World) -> None:
    one, other = world.manifest_path(PURGED), world.manifest_path(OTHER_ARCHIVED)
    first, second = one.read_bytes(), other.read_bytes()
    overwrite(one, second)
    overwrite(other, first)


def _sign_manifest_again(world: World) -> None:
    """A manifest of the same content by another key."""
    path = world.manifest_path(ARCHIVED)
    manifest = parse_manifest(path.read_bytes(), KEY.verifier_key(), name=path.name)
    overwrite(path, manifest.to_bytes(OTHER_KEY))


def _sign_other_segments(world: World) -> Manifest:
    """Put a manifest that whoever has the key signed over another segment record."""
    path = world.manifest_path(ARCHIVED)
    manifest = parse_manifest(path.read_bytes(), KEY.verifier_key(), name=path.name)
    segments = (replace(manifest.segments[0], tx_from=0), *manifest.segments[1:])
    root = part_root(segments)
    other = replace(manifest, root=root, segments=segments, object_key=object_key(ARCHIVED, 1, root))
    world.services.store.put_bytes(other.manifest_key, other.to_bytes(KEY))
    return other


def _record_other_segments(world: World) -> None:
    """Let the catalogue believe in such a manifest."""
    other = _sign_other_segments(world)
    data = (world.cold / other.manifest_key).read_bytes()
    world.execute(
        "UPDATE archived_audit_logs SET manifest_key = :manifest_key, object_key = :object_key, root = :root,"
        " manifest_sha256 = :sha256 WHERE day = :day",
        manifest_key=other.manifest_key,
        object_key=other.object_key,
        root=other.root,
        sha256=hashlib.sha256(data).hexdigest(),
        day=ARCHIVED,
    )


def _put_beside(world: World, number: int) -> None:
    """A copy of an archived part under another number, as only whoever has the key can make it commit."""
    path = world.manifest_path(ARCHIVED)
    manifest = parse_manifest(path.read_bytes(), KEY.verifier_key(), name=path.name)
    beside = replace(manifest, part=number, object_key=manifest.object_key.replace(".1-", f".{number}-"))
    world.services.store.put_bytes(beside.manifest_key, beside.to_bytes(KEY))
    world.services.store.put_bytes(beside.object_key, world.object_path(ARCHIVED).read_bytes())


PARTS: Final = [
    Damage(
        "an object is altered",
        lambda world: world.alter_object(PURGED),
        ["object_altered"],
        ["object_altered"],
        "was altered: its bytes do not have the SHA-256 that was committed",
    ),
    Damage("an object is truncated", _truncate, ["object_truncated"], ["object_truncated"], "was truncated"),
    Damage(
        "objects of two days are swapped",
        _swap,
        ["object_swapped", "object_swapped"],
        ["object_swapped", "object_swapped"],
        f"holds part 1 of {OTHER_ARCHIVED} instead of its own content",
    ),
    Damage(
        "an object grows",
        lambda world: overwrite(world.object_path(ARCHIVED), world.object_path(ARCHIVED).read_bytes() + b"more"),
        ["object_altered"],
        ["object_altered"],
        "was altered",
        "bytes, committed are",
    ),
    Damage(
        "an object is missing",
        lambda world: world.remove(world.object_path(ARCHIVED)),
        ["object_missing"],
        ["object_missing"],
        "is missing from the cold store",
    ),
    Damage(
        "the only object of a purged day is missing",
        lambda world: world.remove(world.object_path(OTHER_ARCHIVED)),
        ["day_missing", "object_missing"],
        ["object_missing"],
        "nothing is left of its 8 sealed entries",
        "is missing from the cold store",
    ),
    Damage(
        "a manifest is altered",
        lambda world: world.alter_manifest(PURGED),
        ["manifest_altered"],
        ["manifest_altered"],
        "was altered: its signature",
    ),
    Damage(
        "a manifest is signed by another key",
        _sign_manifest_again,
        ["manifest_altered"],
        ["manifest_altered"],
        "is not validly signed by tests.example/audit",
    ),
    Damage(
        "the manifests of two days are swapped",
        _swap_manifests,
        ["manifest_altered", "manifest_altered"],
        ["manifest_altered", "manifest_altered"],
        "was altered: it is the manifest of",
    ),
    Damage(
        "a manifest is missing",
        lambda world: world.remove(world.manifest_path(OTHER_ARCHIVED)),
        ["manifest_missing"],
        ["manifest_missing"],
        "is missing from the cold store",
    ),
    Damage(
        "manifest and object of a purged part are missing, a later part is there",
        remove_part(PURGED),
        ["manifest_missing", "object_missing"],
        ["part_missing"],
        "is missing from the cold store",
        "20 sealed entries are (segment 0) in no part, and later ones are",
    ),
    Damage(
        "a whole purged day is missing from the cold store",
        remove_part(OTHER_ARCHIVED),
        ["day_missing", "manifest_missing", "object_missing"],
        [],
        "nothing is left of its 8 sealed entries: PostgreSQL has none, the cold store no object",
    ),
    Damage(
        "manifest and object of the same part are altered",
        all_of(lambda world: world.alter_manifest(PURGED), lambda world: world.alter_object(PURGED)),
        ["manifest_altered", "object_altered"],
        ["manifest_altered", "object_altered"],
        "was altered: its bytes",
        "cannot be read",
    ),
    Damage(
        "whoever has the key signs a manifest over another segment record",
        _sign_other_segments,
        ["part_unknown"],
        ["manifest_contradicts_ledger", "object_missing", "parts_overlap", "parts_overlap"],
        "is not in the catalogue, and holds segments that are not in the ledger",
        "its records of segment 2 are not those of the ledger",
    ),
    Damage(
        "whoever has the key and the database replaces a part by one of another segment record",
        _record_other_segments,
        ["manifest_contradicts_ledger", "object_missing", "part_unknown"],
        ["manifest_contradicts_ledger", "object_missing", "parts_overlap", "parts_overlap"],
        "its records of segment 2 are not those of the ledger",
        "its records of segment 2 are not those of the ledger",
    ),
    Damage(
        "a part is put beside another that holds the same segments",
        lambda world: _put_beside(world, 7),
        ["part_unknown"],
        ["object_swapped", "parts_overlap", "parts_overlap"],
        "is not in the catalogue, and holds segments that another part holds",
        "is in more than one part: audit-archives/",
    ),
    Damage(
        "a manifest of somebody else is put beside",
        lambda world: world.services.store.put_bytes(
            world.manifest_path(ARCHIVED).relative_to(world.cold).as_posix().replace(".1-", ".7-"), b"{}\n"
        ),
        ["part_unknown"],
        ["manifest_altered"],
        "is not in the catalogue, and nothing of ours",
        "is no manifest",
    ),
]
