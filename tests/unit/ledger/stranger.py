"""The ledger as somebody would check it who has docs/ledger.md and nothing of this project's code.

Word by word from the document and RFC 6962, with no thought for speed. Everything that is not as the document wants it
raises ValueError. Nothing is imported from the package, so that a fault there is not repeated here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS = {
    "id": int,
    "log_entry_id": str,
    "timestamp": str,
    "user_id": str,
    "action": str,
    "resource_type": str,
    "resource_id": str,
    "result": str,
    "metadata": str,
    "created_at": str,
    "tx_id": int,
    "nonce": str,
    "commitment": str,
}
NULLABLE = {"resource_type", "resource_id", "metadata"}
RECORD = {
    "seq": int,
    "day": str,
    "tx_from": int,
    "tx_to": int,
    "first_id": int,
    "last_id": int,
    "entry_count": int,
    "root": str,
    "sealed_at": int,
}
PROOF = {
    "format": str,
    "entry": dict,
    "entry_index": int,
    "entry_path": list,
    "segment": dict,
    "ledger_path": list,
    "checkpoint": str,
    "keys": list,
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
HASH = re.compile(r"[0-9a-f]{64}")
NONCE = re.compile(r"[0-9a-f]{32}")


def need(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def microseconds(time: str) -> int:
    need(TIME.fullmatch(time), f"{time} is no time")
    return (datetime.fromisoformat(time) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def from_base64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "another way to write base64")
    return data


def with_length(text: str) -> bytes:
    data = text.encode()
    return str(len(data)).encode() + b":" + data


def check_entry(entry: Mapping[str, Any]) -> None:
    """That an entry is written as a proof writes it."""
    need(set(entry) == set(COLUMNS), "other columns")
    need(entry["commitment"] is None, "blinded, which the document does not say how to read")
    for name, kind in COLUMNS.items():
        if name != "commitment" and not (entry[name] is None and name in NULLABLE):
            need(type(entry[name]) is kind, f"{name} is of another type")
    need(NONCE.fullmatch(entry["nonce"]), "a nonce is 32 lower-case hex digits")


def number(value: int) -> bytes:
    need(-(2**63) <= value < 2**63, "more than 8 bytes")
    return value.to_bytes(8, "big", signed=True)


def texts(*values: str | None) -> bytes:
    encoded = [None if value is None else value.encode() for value in values]
    lengths = [b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") for value in encoded]
    return b"".join(lengths) + b"".join(value for value in encoded if value is not None)


def public_bytes(entry: Mapping[str, Any]) -> bytes:
    return (
        number(entry["id"])
        + number(microseconds(entry["timestamp"]))
        + number(microseconds(entry["created_at"]))
        + number(entry["tx_id"])
        + texts(entry["log_entry_id"], entry["action"], entry["resource_type"], entry["result"])
    )


def private_bytes(entry: Mapping[str, Any]) -> bytes:
    return texts(entry["user_id"], entry["resource_id"], entry["metadata"])


def commitment(entry: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(b"\x02" + bytes.fromhex(entry["nonce"]) + private_bytes(entry)).digest()


def entry_leaf(entry: Mapping[str, Any]) -> bytes:
    """Of an entry as a proof writes it."""
    check_entry(entry)
    return leaf_hash(public_bytes(entry) + commitment(entry))


def record_bytes(record: Mapping[str, Any]) -> bytes:
    need({name: type(value) for name, value in record.items()} == RECORD, "no segment record")
    need(HASH.fullmatch(record["root"]), "a root is 64 lower-case hex digits")
    day = date.fromisoformat(record["day"])
    need(str(day) == record["day"], "another way to write a day")
    days = signed((day - date(1970, 1, 1)).days, 4)
    numbers = b"".join(signed(record[name], 8) for name in ("tx_from", "tx_to", "first_id", "last_id", "entry_count"))
    end = bytes.fromhex(record["root"]) + signed(record["sealed_at"], 8)
    return b"\x01" + signed(record["seq"], 8) + days + numbers + end


def signed(number: int, width: int) -> bytes:
    """Big-endian, two's complement."""
    need(-(2 ** (8 * width - 1)) <= number < 2 ** (8 * width - 1), "a number that does not fit")
    return number.to_bytes(width, "big", signed=True)


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(count: int) -> int:
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(tree_root(leaves[:k]), tree_root(leaves[k:]))


def root_by_path(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes:
    """PATH of RFC 6962 section 2.1.1, read backwards: the root that a leaf and its audit path lead to."""
    need(0 <= index < count, "no such leaf")
    if count == 1:
        need(not path, "the path is too long")
        return leaf
    need(path, "the path is too short")
    k = split(count)
    if index < k:
        return node_hash(root_by_path(leaf, index, k, path[:-1]), path[-1])
    return node_hash(path[-1], root_by_path(leaf, index - k, count - k, path[:-1]))


@dataclass
class PublicKey:
    name: str
    key_hash: bytes
    key: Ed25519PublicKey


def read_public_key(text: str) -> PublicKey:
    name, key_hash, encoded = text.split("+", 2)
    data = from_base64(encoded)
    need(len(data) == 33 and data[0] == 1, "no Ed25519 key")
    need(hashlib.sha256(name.encode() + b"\n" + data).digest()[:4].hex() == key_hash, "the key is damaged")
    return PublicKey(name, bytes.fromhex(key_hash), Ed25519PublicKey.from_public_bytes(data[1:]))


@dataclass
class KeyChange:
    """What a record about a key says."""

    seq: int
    sealed_at: int
    old: PublicKey
    new: PublicKey
    root: bytes
    until: int
    revoked: bool


@dataclass
class Keys:
    """The keys of a ledger, oldest first, and the changes between them."""

    keys: list[PublicKey]
    changes: list[KeyChange]


def same(one: PublicKey, other: PublicKey) -> bool:
    return (one.name, one.key.public_bytes_raw()) == (other.name, other.key.public_bytes_raw())


def decimal(text: str) -> int:
    need(re.fullmatch(r"0|[1-9][0-9]*", text) and int(text) < 2**63, f"{text} is no number")
    return int(text)


def note_text(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a note, and name and the decoded base64 of each signature line."""
    need(all(character >= " " or character == "\n" for character in note), "control characters")
    text, blank, signatures = note.rpartition("\n\n")
    need(blank and signatures.endswith("\n"), "a line does not end")
    lines = []
    for line in signatures[:-1].split("\n"):
        dash, name, encoded = line.split(" ")
        need(dash == "\u2014", "no signature line")
        lines.append((name, from_base64(encoded)))
    return text + "\n", lines


def is_signed_by(key: PublicKey, text: str, lines: Sequence[tuple[str, bytes]]) -> bool:
    """Whether there is a line of the key; it has to be right then."""
    mine = [data[4:] for name, data in lines if (name, data[:4]) == (key.name, key.key_hash)]
    for signature in mine:
        try:
            key.key.verify(signature, text.encode())
        except InvalidSignature:
            raise ValueError("the signature is not of this text") from None
    return bool(mine)


def read_key_change(data: bytes) -> KeyChange:
    """The record about a key that these bytes are."""
    need(25 <= len(data) <= 4096 and data[0] == 2, "no record about a key")
    seq, sealed_at = (int.from_bytes(data[at : at + 8], "big", signed=True) for at in (1, 17))
    text, lines = note_text(data[25:].decode())
    first, old, new, place, root, until, end = text[:-1].split("\n")
    need(first == "audit-ledger-key/1" and end in {"retired", "revoked"}, "another statement")
    change = KeyChange(
        seq,
        sealed_at,
        read_public_key(old),
        read_public_key(new),
        from_base64(root),
        decimal(until),
        end == "revoked",
    )
    need(decimal(place) == seq and len(change.root) == 32, "another record")
    need(change.old.name == change.new.name and not same(change.old, change.new), "this key cannot follow")
    need(change.until == sealed_at if change.revoked else change.until >= sealed_at, "an end before the beginning")
    need(len(lines) == 2, "not two signatures")
    for key, line in zip((change.old, change.new), lines, strict=True):
        need(is_signed_by(key, text, [line]), "not signed by the old and then the new key")
    return change


def chain_through(trusted: PublicKey, records: Sequence[bytes]) -> Keys:
    """The chain of keys that these records are, one after the other; the trusted key is one of them."""
    changes = [read_key_change(record) for record in records]
    keys = [changes[0].old] if changes else [trusted]
    for change in changes:
        need(same(change.old, keys[-1]), "not the key that signs")
        need(not any(same(change.new, key) for key in keys), "a key comes back")
        keys.append(change.new)
    need([change.seq for change in changes] == sorted({change.seq for change in changes}), "not in order")
    need(any(same(trusted, key) for key in keys), "the trusted key is not in the chain")
    return Keys(keys, changes)


def open_checkpoint(note: str, key: PublicKey | Keys) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the key in charge signed, and no key that may not."""
    chain = Keys([key], []) if isinstance(key, PublicKey) else key
    text, lines = note_text(note)
    origin, size_text, root = text.split("\n")[:3]
    size = decimal(size_text)
    at = sum(change.seq < size for change in chain.changes)
    signed = [is_signed_by(each, text, lines) for each in chain.keys]
    need(signed[at], "not signed by the key in charge")
    for place in range(at):
        need(not signed[place] or (place == at - 1 and not chain.changes[place].revoked), "signed by a retired key")
    need(origin == chain.keys[0].name, "another ledger")
    return size, from_base64(root)


def verify_proof(document: dict[str, Any], key: PublicKey) -> None:
    need({name: type(value) for name, value in document.items()} == PROOF, "other members")
    need(document["format"] == "compliance-pipelines/proof/v2", "another format")
    for record in document["keys"]:
        need(re.fullmatch(r"([0-9a-f]{2})*", record), "no hex digits")
    chain = chain_through(key, [bytes.fromhex(record) for record in document["keys"]])
    size, root = open_checkpoint(document["checkpoint"], chain)
    later = [change for change in chain.changes if change.seq >= size]
    need(not later or not later[0].revoked, "signed by a key that became known to others")
    segment, entry = document["segment"], document["entry"]
    for node in (*document["ledger_path"], *document["entry_path"]):
        need(HASH.fullmatch(node), "no hash")
    ledger_path = [bytes.fromhex(node) for node in document["ledger_path"]]
    need(root_by_path(leaf_hash(record_bytes(segment)), segment["seq"], size, ledger_path) == root, "ledger path")
    entry_path = [bytes.fromhex(node) for node in document["entry_path"]]
    leaf = entry_leaf(entry)
    segment_root = root_by_path(leaf, document["entry_index"], segment["entry_count"], entry_path)
    need(segment_root.hex() == segment["root"], "entry path")
    need(entry["timestamp"][:10] == segment["day"], "another day")
    need(segment["tx_from"] <= entry["tx_id"] < segment["tx_to"], "another transaction")


def verify_tlog_proof(text: str, key: PublicKey) -> bytes:
    """The record that a proof in the format of C2SP tlog-proof is of."""
    proof, _, note = text.partition("\n\n")
    first, extra, index, *path = proof.split("\n")
    need(first == "c2sp.org/tlog-proof@v1" and extra.startswith("extra ") and index.startswith("index "), "no proof")
    record = from_base64(extra.removeprefix("extra "))
    size, root = open_checkpoint(note, key)
    seq = int(index.removeprefix("index "))
    need(root_by_path(leaf_hash(record), seq, size, [from_base64(node) for node in path]) == root, "another root")
    return record


def tile_key(level: int | str, index: int, width: int) -> str:
    digits = str(index)
    while len(digits) % 3:
        digits = "0" + digits
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "".join(f"x{group}/" for group in groups[:-1]) + groups[-1]
    return f"audit-ledger/tile/{level}/{path}" + ("" if width == 256 else f".p/{width}")


LOSS = {"seq": int, "tx_to": int, "sealed_at": int, "entries": int, "found": int, "author": str, "reason": str}


def loss_bytes(loss: Mapping[str, Any]) -> bytes:
    """Of a record that states a loss."""
    need({name: type(loss[name]) for name in LOSS} == LOSS and set(loss) == {*LOSS, "ranges"}, "no loss")
    ranges, end = loss["ranges"], -1
    need(len(ranges) <= 3_000 and loss["entries"] >= 0 and loss["found"] >= 0, "numbers that no loss has")
    for first, after in ranges:
        need(end < first < after <= loss["seq"], "ranges that no loss has")
        end = after
    data = b"\x03" + number(loss["seq"]) + number(loss["tx_to"]) + number(loss["sealed_at"])
    data += number(loss["entries"]) + number(loss["found"]) + signed(len(ranges), 4)
    data += b"".join(number(first) + number(after) for first, after in ranges)
    for name, most in (("author", 1_000), ("reason", 10_000)):
        text = loss[name].encode()
        need(0 < len(text) <= most and loss[name].strip(), "no author or no reason")
        need(not re.search("[\0-\x1f\x7f-\x9f]", loss[name]), "control characters")
        data += signed(len(text), 4) + text
    need(len(data) <= 65_535, "too long for an entry of a bundle")
    return data


def read_loss(data: bytes) -> dict[str, Any]:
    need(data[:1] == b"\x03", "no loss")
    at = 1

    def take(width: int) -> bytes:
        nonlocal at
        need(0 <= width <= len(data) - at, "cut off")
        at += width
        return data[at - width : at]

    def integer(width: int) -> int:
        return int.from_bytes(take(width), "big", signed=True)

    loss: dict[str, Any] = {name: integer(8) for name in ("seq", "tx_to", "sealed_at", "entries", "found")}
    count = integer(4)
    need(0 <= count <= 3_000, "too many ranges")
    loss["ranges"] = [[integer(8), integer(8)] for _ in range(count)]
    loss |= {name: take(integer(4)).decode() for name in ("author", "reason")}
    need(loss_bytes(loss) == data, "other bytes")
    return loss


EXPIRY = ("entries", "object_bytes", "first_seq", "last_seq", "segments")


def expiry_bytes(expiry: Mapping[str, Any]) -> bytes:
    """Of a record that states the expiry of a part."""
    first, last, count = (expiry[name] for name in ("first_seq", "last_seq", "segments"))
    need(min(expiry[name] for name in ("part", "years", "entries", "object_bytes", "segments")) > 0, "no such part")
    need(0 <= first <= last < expiry["seq"] and count <= last - first + 1, "no such segments")
    root, sha256 = (bytes.fromhex(expiry[name]) for name in ("root", "object_sha256"))
    need(len(root) == len(sha256) == 32, "no digests")
    data = b"\x04" + number(expiry["seq"]) + number(expiry["tx_to"]) + number(expiry["sealed_at"])
    data += signed((date.fromisoformat(expiry["day"]) - date(1970, 1, 1)).days, 4)
    data += signed(expiry["part"], 4) + signed(expiry["years"], 4)
    return data + b"".join(number(expiry[name]) for name in EXPIRY) + root + sha256


def read_expiry(data: bytes) -> dict[str, Any]:
    need(len(data) == 141 and data[0] == 4, "no expiry")

    def integer(at: int, width: int) -> int:
        return int.from_bytes(data[at : at + width], "big", signed=True)

    expiry: dict[str, Any] = {name: integer(1 + 8 * at, 8) for at, name in enumerate(("seq", "tx_to", "sealed_at"))}
    expiry |= {"day": str(date(1970, 1, 1) + timedelta(days=integer(25, 4)))}
    expiry |= {"part": integer(29, 4), "years": integer(33, 4)}
    expiry |= {name: integer(37 + 8 * at, 8) for at, name in enumerate(EXPIRY)}
    expiry |= {"root": data[77:109].hex(), "object_sha256": data[109:].hex()}
    need(expiry_bytes(expiry) == data, "other bytes")
    return expiry


def standing(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The segments in which entries are looked for."""
    void = {seq for record in records if "ranges" in record for each in record["ranges"] for seq in range(*each)}
    return [record for record in records if "root" in record and record["seq"] not in void]


def read_record(data: bytes) -> dict[str, Any]:
    if data[:1] == b"\x02":
        return read_statement(data)
    if data[:1] == b"\x03":
        return read_loss(data)
    if data[:1] == b"\x04":
        return read_statement(data)
    need(len(data) == 93 and data[0] == 1, "no segment record")

    def number(start: int, width: int) -> int:
        return int.from_bytes(data[start : start + width], "big", signed=True)

    record: dict[str, Any] = {"seq": number(1, 8), "day": str(date(1970, 1, 1) + timedelta(days=number(9, 4)))}
    for place, name in enumerate(("tx_from", "tx_to", "first_id", "last_id", "entry_count")):
        record[name] = number(13 + 8 * place, 8)
    record |= {"root": data[53:85].hex(), "sealed_at": number(85, 8)}
    need(record_bytes(record) == data, "other bytes")
    return record


def read_statement(data: bytes) -> dict[str, Any]:
    need(len(data) >= 25, "no statement")
    seq, tx_to, sealed_at = (int.from_bytes(data[at : at + 8], "big", signed=True) for at in (1, 9, 17))
    return {"kind": data[0], "seq": seq, "tx_to": tx_to, "sealed_at": sealed_at, "body": data[25:]}


def rebuild(objects: Mapping[str, bytes], key: PublicKey) -> list[dict[str, Any]]:
    """Every record of a ledger from its entry bundles; all else in the cold store is checked against them."""
    need("audit-ledger/checkpoint" in objects, "no checkpoint")
    note = objects["audit-ledger/checkpoint"].decode()
    claimed = decimal(note.split("\n")[1])
    stated = {name: data for name, data in sorted(objects.items()) if name.startswith("audit-ledger/keys/")}
    about_keys = [data for name, data in stated.items() if int(name.removeprefix("audit-ledger/keys/")) < claimed]
    chain = chain_through(key, about_keys)
    size, root = open_checkpoint(note, chain)
    entries: list[bytes] = []
    for index in range(-(-size // 256)):
        width = min(256, size - 256 * index)
        bundle = objects[tile_key("entries", index, width)]
        at = 0
        for _ in range(width):
            length = int.from_bytes(bundle[at : at + 2], "big")
            entries.append(bundle[at + 2 : at + 2 + length])
            need(len(entries[-1]) == length, "a record is cut off")
            at += 2 + length
        need(at == len(bundle), "a bundle with more records")
    leaves = [leaf_hash(entry) for entry in entries]
    need(tree_root(leaves) == root, "the records do not lead to the root")
    need(set(objects) >= check_tiles(objects, leaves), "a tile is missing")
    records = [read_record(entry) for entry in entries]
    need([record["seq"] for record in records] == list(range(size)), "records out of order")
    need([entry for entry in entries if entry[0] == 2] == about_keys, "other records about keys beside the log")
    for change in chain.changes:
        need(change.root == tree_root(leaves[: change.seq]), "a record about the key of another ledger")
        need(f"audit-ledger/keys/{change.seq:020d}" in stated, "an object of another record about a key")
    check_days(objects, records, leaves, chain)
    check_ends(note, records[-1]["sealed_at"], size, chain)
    return records


def check_ends(note: str, sealed_at: int, size: int, chain: Keys) -> None:
    """No key signed beside the one in charge when the time for both was over."""
    text, lines = note_text(note)
    for change in chain.changes:
        late = change.seq < size and sealed_at > change.until
        need(not (late and is_signed_by(change.old, text, lines)), "signed by a retired key")


def check_tiles(objects: Mapping[str, bytes], leaves: Sequence[bytes]) -> set[str]:
    """The keys of all hash tiles that the ledger must have; those that are there are right."""
    hashes, level, keys = list(leaves), 0, set()
    while hashes:
        above = []
        for index in range(0, len(hashes), 256):
            tile = hashes[index : index + 256]
            keys.add(tile_key(level, index // 256, len(tile)))
            for width in range(1, len(tile) + 1):
                said = objects.get(tile_key(level, index // 256, width))
                need(said in (None, b"".join(tile[:width])), "a tile that lies")
            if len(tile) == 256:
                above.append(tree_root(tile))
        hashes, level = above, level + 1
    return keys


def check_days(
    objects: Mapping[str, bytes], records: Sequence[Mapping[str, Any]], leaves: Sequence[bytes], key: Keys
) -> None:
    """Each UTC day that is over has its last checkpoint."""
    days = [datetime.fromtimestamp(record["sealed_at"] // 1_000_000, UTC).date() for record in records]
    for size in range(1, len(records)):
        if days[size - 1] != days[size]:
            day = days[size - 1]
            note = objects[f"audit-ledger/checkpoints/{day:%Y/%m}/{day}"]
            need(
                open_checkpoint(note.decode(), key) == (size, tree_root(leaves[:size])), "another checkpoint of its day"
            )
            check_ends(note.decode(), records[size - 1]["sealed_at"], size, key)
