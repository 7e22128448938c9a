from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.archive.errors import ManifestError
from compliance_pipelines.archive.layout import manifest_key, object_key, part_root
from compliance_pipelines.archive.manifest import Manifest, parse_manifest
from compliance_pipelines.audit_log.entry import COLUMNS
from compliance_pipelines.encryption.data_key import Encryption
from compliance_pipelines.ledger.checkpoint import SigningKey, sign_note
from tests.unit.archive.examples import DAY, segment
from tests.unit.ledger import vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.ledger.segments import Segment

KEY = SigningKey.generate("tests.example/audit")


def manifest_of(segments: Sequence[Segment], **values: Any) -> Manifest:  # noqa: ANN401 - any field
    root = part_root(segments)
    fields: dict[str, Any] = {
        "day": DAY,
        "part": 2,
        "object_key": object_key(DAY, 2, root),
        "object_sha256": "ab" * 32,
        "object_bytes": 12_345,
        "entry_count": sum(each.entry_count for each in segments),
        "canonical_bytes": 99_999,
        "first_id": min(each.first_id for each in segments),
        "last_id": max(each.last_id for each in segments),
        "root": root,
        "segments": tuple(segments),
        "created_at": datetime(2026, 10, 1, 3, 4, 5, 678, tzinfo=UTC),
    }
    return Manifest(**{**fields, **values})


MANIFEST = manifest_of([segment(3), segment(5, entry_count=7)])


def parse(data: bytes) -> Manifest:
    return parse_manifest(data, KEY.verifier_key(), name="the manifest")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True).map(sorted), st.integers(1, 1000))
def test_a_manifest_comes_back_as_it_was_written(sequence: list[int], count: int) -> None:
    manifest = manifest_of([segment(seq, entry_count=count) for seq in sequence])
    assert parse(manifest.to_bytes(KEY)) == manifest


def test_it_is_one_line_of_ascii_with_the_documented_fields() -> None:
    data = MANIFEST.to_bytes(KEY)
    assert data.isascii()
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1
    document = json.loads(data)
    assert list(document) == ["body", "signature"]
    body = document["body"]
    assert list(body) == sorted(body)
    assert set(body) == {
        "version", "day", "part", "revision", "replaces", "object_key", "object_sha256", "object_bytes", "entry_count",
        "canonical_bytes", "first_id", "last_id", "root", "segments", "blinded", "columns", "compression", "encryption",
        "software", "created_at",
    }  # fmt: skip
    assert [column["name"] for column in body["columns"]] == list(COLUMNS)
    assert (body["version"], body["created_at"], body["encryption"]) == (2, "2026-10-01T03:04:05.000678Z", None)


def test_a_stranger_checks_the_signature_as_documented() -> None:
    data = MANIFEST.to_bytes(KEY)
    signed_bytes = data[len(b'{"body":') : data.index(b',"signature":')]
    text, _, signatures = json.loads(data)["signature"].partition("\n\n")
    assert text.split("\n") == [
        "audit-archive-manifest/2",
        MANIFEST.object_key,
        f"sha256:{hashlib.sha256(signed_bytes).hexdigest()}",
    ]
    name, signature = signatures.removeprefix("\N{EM DASH} ").split()
    assert name == "tests.example/audit"
    public_key = base64.b64decode(KEY.verifier_key().to_note_string().split("+", 2)[2])[1:]
    Ed25519PublicKey.from_public_bytes(public_key).verify(base64.b64decode(signature)[4:], f"{text}\n".encode())


def test_the_manifest_of_the_document_is_one_and_is_of_the_vectors() -> None:
    key = SigningKey.from_note_string(vectors.json_box("key")["private_key"])
    data = vectors.box("manifest").encode()
    manifest = parse_manifest(data, key.verifier_key(), name="the manifest")
    assert [each.to_json() for each in manifest.segments] == [vectors.json_box("segments")[1]["segment"]]
    written = [bytes.fromhex(each["public"] + each["private"]) for each in vectors.json_box("entries")[:3]]
    assert manifest.canonical_bytes == sum(map(len, written))
    assert manifest.to_bytes(key) == data
    assert f"`{manifest.manifest_key}`" in (vectors.DOCUMENT.parent / "archive-format.md").read_text(encoding="utf-8")


@given(data=st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    written = bytearray(MANIFEST.to_bytes(KEY))
    position = data.draw(st.integers(0, len(written) - 1))
    written[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ManifestError, match="the manifest"):
        parse(bytes(written))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b'{"body":{},"signature":""}\n',
        b"\xff",
        b"[" * 100_000,
        MANIFEST.to_bytes(KEY)[:-1],
        MANIFEST.to_bytes(KEY) + b"\n",
        MANIFEST.to_bytes(KEY).replace(b'"part":2', b'"part":2.0'),
        MANIFEST.to_bytes(KEY).replace(b'"part":2', b'"part":"2"'),
        MANIFEST.to_bytes(KEY).replace(b'"part":2', b'"part":2,"extra":1'),
        MANIFEST.to_bytes(KEY).replace(b'"part":2', b'"part":1,"part":2'),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match="the manifest"):
        parse(data)


def test_the_signature_of_another_key_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"not validly signed by tests\.example/audit"):
        parse(MANIFEST.to_bytes(SigningKey.generate("tests.example/audit")))
    with pytest.raises(ManifestError, match=r"not validly signed by tests\.example/audit"):
        parse(MANIFEST.to_bytes(SigningKey.generate("another.example/audit")))


def test_the_signature_of_another_manifest_is_refused() -> None:
    other = replace(MANIFEST, object_bytes=1).to_bytes(KEY)
    signature = other[other.index(b',"signature":') :]
    data = MANIFEST.to_bytes(KEY)
    with pytest.raises(ManifestError, match="was altered"):
        parse(data[: data.index(b',"signature":')] + signature)


@pytest.mark.parametrize(
    ("values", "contradiction"),
    [
        ({"part": 3}, "object_key is not that of its day, part, root and revision"),
        ({"day": date(2026, 7, 2)}, "object_key is not that of its day"),
        ({"root": bytes(32)}, "root is not that of its segments"),
        ({"segments": tuple(reversed(MANIFEST.segments))}, "segments are not in order"),
        ({"segments": (MANIFEST.segments[0],) * 2}, "segments are not in order"),
        ({"segments": (segment(3, day=date(2026, 7, 2)), MANIFEST.segments[1])}, "segments are of another day"),
        ({"entry_count": 18}, "entry_count is not the sum"),
        ({"first_id": 1}, "first_id or last_id is not that"),
        ({"last_id": 1}, "first_id or last_id is not that"),
    ],
)
def test_a_signed_manifest_that_contradicts_itself_is_refused(values: dict[str, Any], contradiction: str) -> None:
    with pytest.raises(ManifestError, match=contradiction):
        parse(replace(MANIFEST, **values).to_bytes(KEY))


def signed_by_hand(**values: object) -> bytes:
    """The manifest with other members, written and signed as the document says."""
    body = {**json.loads(MANIFEST.to_bytes(KEY))["body"], **values}
    written = json.dumps(body, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(written.encode()).hexdigest()
    note = sign_note(f"audit-archive-manifest/2\n{MANIFEST.object_key}\nsha256:{digest}\n", KEY)
    return f'{{"body":{written},"signature":{json.dumps(note)}}}\n'.encode()


def test_a_manifest_says_how_its_object_is_encrypted_and_with_which_key() -> None:
    manifest = replace(MANIFEST, encryption=Encryption(key_id="0" * 32))
    assert parse(manifest.to_bytes(KEY)) == manifest
    body = json.loads(manifest.to_bytes(KEY))["body"]
    assert body["encryption"] == {"algorithm": "AES_GCM_V1", "key_id": "0" * 32}


@pytest.mark.parametrize(
    "encryption",
    [{}, {"kms": "key"}, {"algorithm": "AES_GCM_CTR_V1", "key_id": "0" * 32}, {"key_id": "A" * 32}, "none"],
)
def test_an_encryption_that_is_not_known_is_refused(encryption: object) -> None:
    with pytest.raises(ManifestError, match=r"no manifest of version 2.*encryption"):
        parse(signed_by_hand(encryption=encryption))


@pytest.mark.parametrize(
    "values",
    [
        {"day": "20260701"},
        {"day": "2026-W27-3"},
        {"created_at": "2026-07-02T00:00:00.5Z"},
        {"created_at": "2026-7-2T00:00:00.500000Z"},
    ],
)
def test_a_day_or_time_in_another_form_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ManifestError, match=r"a date or time has another form|no manifest of version 2"):
        parse(signed_by_hand(**values))


@pytest.mark.parametrize("name", ["part", "object_bytes", "entry_count", "canonical_bytes", "first_id", "last_id"])
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.0, True, "1"])
def test_a_number_that_is_no_integer_of_64_bits_is_refused(name: str, value: object) -> None:
    with pytest.raises(ManifestError, match="no manifest of version 2"):
        parse(signed_by_hand(**{name: value}))


def test_a_manifest_that_is_signed_by_hand_is_one() -> None:
    assert signed_by_hand() == MANIFEST.to_bytes(KEY)


def test_a_later_revision_names_the_one_that_it_replaces() -> None:
    later = replace(
        MANIFEST,
        revision=2,
        replaces=MANIFEST.manifest_key,
        object_key=object_key(MANIFEST.day, MANIFEST.part, MANIFEST.root, 2),
    )
    assert parse(later.to_bytes(KEY)) == later
    assert later.manifest_key == MANIFEST.manifest_key.replace(".0.manifest", ".2.manifest")


@pytest.mark.parametrize(
    ("revision", "replaces"),
    [
        (1, None),
        (0, "{own}"),
        (1, "audit-archives/2026/06/x.manifest.json"),
        (1, "{other}"),
        (1, "{object}"),
        (1, "{itself}"),
        (1, "{later}"),
    ],
)
def test_a_revision_that_replaces_nothing_or_another_part_is_refused(revision: int, replaces: str | None) -> None:
    day, part, root = MANIFEST.day, MANIFEST.part, MANIFEST.root
    named = (
        None
        if replaces is None
        else replaces.format(
            own=MANIFEST.manifest_key,
            object=MANIFEST.object_key,
            other=manifest_key(day, part + 1, root),
            itself=manifest_key(day, part, root, 1),
            later=manifest_key(day, part, root, 2),
        )
    )
    stored = object_key(day, part, root, revision)
    manifest = replace(MANIFEST, revision=revision, replaces=named, object_key=stored)
    with pytest.raises(ManifestError, match="does not name the revision that it replaces, or names another part"):
        parse(manifest.to_bytes(KEY))


def test_a_revision_under_the_key_of_another_is_refused() -> None:
    with pytest.raises(ManifestError, match="its object_key is not that of its day, part, root and revision"):
        parse(replace(MANIFEST, revision=1, replaces=MANIFEST.manifest_key).to_bytes(KEY))


def test_what_blinding_will_write_is_refused_until_it_can_be_read() -> None:
    with pytest.raises(ManifestError, match="names blinded entries, which this version cannot read"):
        parse(signed_by_hand(blinded=[{"id": 1}]))
