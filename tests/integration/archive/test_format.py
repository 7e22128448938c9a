"""docs/archive-format.md, read by a stranger: the checks of "Checking a part" and the readers of "Reading a part".

The verifier below has pyarrow, hashlib and cryptography, and none of the project's code. It is written from
docs/archive-format.md and docs/ledger.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance_pipelines.archive.export import archive_day
from tests.integration.archive.days import entry, overwrite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days

COLUMNS = [
    ("id", "int64", False),
    ("log_entry_id", "string", False),
    ("timestamp", "timestamp[us, tz=UTC]", False),
    ("user_id", "string", True),
    ("action", "string", False),
    ("resource_type", "string", True),
    ("resource_id", "string", True),
    ("result", "string", False),
    ("metadata", "string", True),
    ("created_at", "timestamp[us, tz=UTC]", False),
    ("tx_id", "int64", False),
    ("nonce", "fixed_size_binary[16]", True),
    ("commitment", "fixed_size_binary[32]", True),
]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def number(value: object) -> bytes:
    if isinstance(value, datetime):
        value = (value - EPOCH) // timedelta(microseconds=1)
    assert isinstance(value, int)
    return struct.pack(">q", value)


def texts(*values: str | None) -> bytes:
    encoded = [None if value is None else value.encode() for value in values]
    return b"".join(struct.pack(">i", -1 if value is None else len(value)) for value in encoded) + b"".join(
        value for value in encoded if value is not None
    )


def entry_bytes(row: dict[str, Any]) -> tuple[bytes, bytes]:
    """Public and private bytes of an entry, as ledger.md writes them."""
    return (
        b"".join(number(row[name]) for name in ("id", "timestamp", "created_at", "tx_id"))
        + texts(row["log_entry_id"], row["action"], row["resource_type"], row["result"]),
        texts(row["user_id"], row["resource_id"], row["metadata"]),
    )


def entry_leaf(row: dict[str, Any]) -> bytes:
    public, private = entry_bytes(row)
    assert row["commitment"] is None
    return sha256(b"\x00" + public + sha256(b"\x02" + row["nonce"] + private))


def root_of(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while 2 * half < len(leaves):
        half *= 2
    return sha256(b"\x01" + root_of(leaves[:half]) + root_of(leaves[half:]))


def record_leaf(segment: dict[str, Any]) -> bytes:
    return sha256(
        b"\x00\x01"
        + number(segment["seq"])
        + struct.pack(">i", (date.fromisoformat(segment["day"]) - EPOCH.date()).days)
        + b"".join(number(segment[name]) for name in ("tx_from", "tx_to", "first_id", "last_id", "entry_count"))
        + bytes.fromhex(segment["root"])
        + number(segment["sealed_at"])
    )


def signed_text(note: str, public_key: str) -> str:
    """The text of a note, if the key has signed it."""
    name, key_hash, key = public_key.split("+", 2)
    text, signature_line = note.split("\n\n")
    dash, signer, signature = signature_line.split()
    raw = base64.b64decode(signature)
    assert (dash, signer, raw[:4].hex()) == ("\N{EM DASH}", name, key_hash)
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:]).verify(raw[4:], f"{text}\n".encode())
    return text


def check_part(manifest_path: Path, bucket: Path, public_key: str) -> int:
    """Steps 1 to 6 of "Checking a part"; how many rows it has."""
    data = manifest_path.read_bytes()
    body_bytes = data[len(b'{"body":') : data.index(b',"signature":')]
    body, signature = json.loads(body_bytes), json.loads(data)["signature"]
    assert json.dumps(body, sort_keys=True, separators=(",", ":")).encode() == body_bytes
    assert data == b'{"body":' + body_bytes + b',"signature":' + json.dumps(signature).encode() + b"}\n"
    assert signed_text(signature, public_key).split("\n") == [
        "audit-archive-manifest/2",
        body["object_key"],
        f"sha256:{hashlib.sha256(body_bytes).hexdigest()}",
    ]

    year, month, _ = body["day"].split("-")
    stem = f"audit-archives/{year}/{month}/audit-logs-{body['day']}.{body['part']}-{body['root'][:8]}.0"
    assert body["object_key"] == f"{stem}.parquet"
    assert manifest_path == bucket / f"{stem}.manifest.json"

    segments = body["segments"]
    assert [each["seq"] for each in segments] == sorted({each["seq"] for each in segments})
    assert root_of([record_leaf(each) for each in segments]).hex() == body["root"]
    assert {each["day"] for each in segments} == {body["day"]}
    assert sum(each["entry_count"] for each in segments) == body["entry_count"]
    assert min(each["first_id"] for each in segments) == body["first_id"]
    assert max(each["last_id"] for each in segments) == body["last_id"]

    stored = (bucket / body["object_key"]).read_bytes()
    assert (len(stored), hashlib.sha256(stored).hexdigest()) == (body["object_bytes"], body["object_sha256"])

    file = pq.ParquetFile(bucket / body["object_key"], page_checksum_verification=True)
    said = {name.decode(): value.decode() for name, value in file.metadata.metadata.items()}
    assert {name: said[f"compliance_pipelines.{name}"] for name in ("format", "day", "part", "root")} == {
        "format": "audit-archive/2",
        "day": body["day"],
        "part": str(body["part"]),
        "root": body["root"],
    }
    assert [(field.name, str(field.type), field.nullable) for field in file.schema_arrow] == COLUMNS
    assert body["columns"] == [
        {"name": name, "type": type_name, "nullable": nullable} for name, type_name, nullable in COLUMNS
    ]
    assert file.metadata.num_rows == body["entry_count"]

    assert (body["revision"], body["replaces"], body["blinded"]) == (0, None, [])

    rows = file.read().to_pylist()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert sum(len(part) for row in rows for part in entry_bytes(row)) == body["canonical_bytes"]
    for segment in segments:
        own = [row for row in rows if segment["tx_from"] <= row["tx_id"] < segment["tx_to"]]
        assert (len(own), own[0]["id"], own[-1]["id"]) == (
            segment["entry_count"],
            segment["first_id"],
            segment["last_id"],
        )
        assert root_of([entry_leaf(row) for row in own]).hex() == segment["root"]
    assert all(any(each["tx_from"] <= row["tx_id"] < each["tx_to"] for each in segments) for row in rows)
    return len(rows)


@pytest.fixture
def bucket(services: Services, days: Days, day: date, tmp_path: Path) -> Path:
    """A cold store with a day in two parts of several segments."""
    days.append(day, 70)
    days.append_entries(day, [entry(day, 1, user_id="Zoë 😀", metadata={"n": 10**30, "é": None}), entry(day, 2)])
    archive_day(services, day)
    days.append(day, 5)
    archive_day(services, day)
    return tmp_path / "cold"


def test_a_stranger_checks_every_part_with_the_public_key_alone(
    services: Services, days: Days, day: date, bucket: Path
) -> None:
    public_key = services.verifier_key.to_note_string()
    assert [check_part(path, bucket, public_key) for path in days.manifests(day)] == [72, 5]


def test_the_strangers_checks_can_fail(services: Services, days: Days, day: date, bucket: Path) -> None:
    public_key = services.verifier_key.to_note_string()
    for path in (days.objects(day)[0], days.manifests(day)[0]):
        data = path.read_bytes()
        overwrite(path, data[:300] + bytes([data[300] ^ 1]) + data[301:])
        with pytest.raises(Exception):  # noqa: B017, PT011 - whichever check sees it first
            check_part(days.manifests(day)[0], bucket, public_key)
        overwrite(path, data)


def test_the_documented_query_of_duckdb_reads_every_part_of_a_month(days: Days, day: date, bucket: Path) -> None:
    found = duckdb.sql(f"""
        SELECT timestamp, user_id, action, metadata::JSON ->> 'n'
        FROM '{bucket}/audit-archives/{day:%Y/%m}/*.parquet'
        WHERE user_id = 'Zoë 😀' ORDER BY id
    """).fetchall()
    assert [(user, action, number) for _, user, action, number in found] == [
        ("Zoë 😀", "message.send", "1000000000000000000000000000000")
    ]
    ((count,),) = duckdb.sql(f"SELECT count(*) FROM '{bucket}/audit-archives/{day:%Y/%m}/*.parquet'").fetchall()
    assert count == len(days.hot_rows(day))


def test_the_documented_lines_of_python_find_an_entry(days: Days, day: date, bucket: Path) -> None:
    wanted = days.hot_rows(day)[3][1]
    month = pyarrow.dataset.dataset(bucket / f"audit-archives/{day:%Y/%m}", exclude_invalid_files=True)
    (found,) = month.to_table(filter=pyarrow.dataset.field("log_entry_id") == wanted).to_pylist()
    assert tuple(found[name] for name, _, _ in COLUMNS) == days.hot_rows(day)[3]
