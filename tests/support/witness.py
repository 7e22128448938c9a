"""A witness as C2SP tlog-witness and tlog-cosignature describe it, over HTTP on this machine.

Strict, and written from the specifications alone: nothing is imported from the package, so that a fault there is not
repeated here. It can be made to misbehave.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.support.replies import Reply, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DECIMAL = re.compile(r"0|[1-9][0-9]*")


class RefusedError(Exception):
    """A request is not taken."""

    def __init__(self, status: int, body: str = "", content_type: str = "text/plain; charset=utf-8") -> None:
        super().__init__(f"{status}: {body}")
        self.reply = Reply(status, body.encode(), content_type)


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def consistent(old_size: int, size: int, old_root: bytes, root: bytes, proof: list[bytes]) -> bool:
    """SUBPROOF of RFC 6962 section 2.1.2, read backwards."""
    rest = list(proof)

    def walk(old: int, count: int, whole: bool) -> tuple[bytes, bytes]:
        if old == count:
            known = old_root if whole else rest.pop()
            return known, known
        k = 1
        while k * 2 < count:
            k *= 2
        sibling = rest.pop()
        if old <= k:
            before, after = walk(old, k, whole)
            return before, node(after, sibling)
        before, after = walk(old - k, count - k, False)
        return node(sibling, before), node(sibling, after)

    try:
        return walk(old_size, size, True) == (old_root, root) and not rest
    except IndexError:
        return False


@dataclass
class Log:
    """A log that the witness knows: its key, and the last checkpoint that was cosigned."""

    key_hash: bytes
    key: Ed25519PublicKey
    size: int = 0
    root: bytes = hashlib.sha256(b"").digest()


@dataclass
class Witness:
    """A witness and its server.

    Attributes:
        name: of its key.
        instead: answers in the place of the witness where it gives a reply; gets the request's body.
        raw: takes the connection instead, after the request was read.
        requests: bodies, in order.
        now: seconds since 1970.
    """

    name: str
    seed: bytes
    port: int = 0
    instead: Callable[[bytes], Reply | None] | None = None
    raw: Callable[[Any], None] | None = None
    requests: list[bytes] = field(default_factory=list)
    now: Callable[[], float] = time.time
    logs: dict[str, Log] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/witness"

    @property
    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def _type_and_key(self) -> bytes:
        return b"\x04" + self.key.public_key().public_bytes_raw()

    @property
    def key_hash(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self._type_and_key).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(self._type_and_key).decode()}"

    def knows(self, vkey: str) -> None:
        """Configure a log by its public key."""
        name, key_hash, encoded = vkey.split("+", 2)
        self.logs[name] = Log(bytes.fromhex(key_hash), Ed25519PublicKey.from_public_bytes(decoded(encoded)[1:]))

    def line(self, text: str, seconds: int) -> str:
        """The cosignature of a note's text."""
        signature = self.key.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
        data = self.key_hash + seconds.to_bytes(8, "big") + signature
        return f"\u2014 {self.name} {base64.b64encode(data).decode()}\n"

    def answer(self, path: str, body: bytes) -> Reply:
        self.requests.append(body)
        reply = None if self.instead is None else self.instead(body)
        if reply is not None:
            return reply
        if path != "/witness/add-checkpoint":
            return Reply(404, b"no such call")
        try:
            return Reply(200, self.add_checkpoint(body.decode()).encode())
        except RefusedError as refused:
            return refused.reply

    def add_checkpoint(self, request: str) -> str:
        head, blank, note = request.partition("\n\n")
        first, *proof_lines = head.split("\n")
        old_text = first.removeprefix("old ")
        if not blank or first == old_text or not DECIMAL.fullmatch(old_text) or len(proof_lines) > 63:
            raise RefusedError(400, "malformed request")
        old, proof = int(old_text), [decoded(line) for line in proof_lines]
        text, signatures = divided(note)
        origin, size_text, root_text, *_ = [*text.split("\n"), "", ""]
        if not DECIMAL.fullmatch(size_text) or any(len(each) != 32 for each in (*proof, decoded(root_text))):
            raise RefusedError(400, "malformed checkpoint")
        size, root = int(size_text), decoded(root_text)
        log = self.logs.get(origin)
        if log is None:
            raise RefusedError(404, "unknown log")
        if not self.signed(log, origin, text, signatures):
            raise RefusedError(403, "no signature of a trusted key")
        if old > size:
            raise RefusedError(400, "old size above the checkpoint's")
        with self.lock:
            self.grow(log, old, size, root, proof)
            return self.line(text, int(self.now()))

    @staticmethod
    def grow(log: Log, old: int, size: int, root: bytes, proof: list[bytes]) -> None:
        if old != log.size or (old == size and root != log.root):
            raise RefusedError(409, f"{log.size}\n", "text/x.tlog.size")
        if old in {0, size}:
            if proof:
                raise RefusedError(422, "a proof of nothing")
        elif not consistent(old, size, log.root, root, proof):
            raise RefusedError(422, "inconsistent")
        log.size, log.root = size, root

    @staticmethod
    def signed(log: Log, origin: str, text: str, signatures: list[tuple[str, bytes]]) -> bool:
        mine = [data[4:] for name, data in signatures if name == origin and data[:4] == log.key_hash]
        try:
            for signature in mine:
                log.key.verify(signature, text.encode())
        except InvalidSignature:
            return False
        return bool(mine)


def decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise RefusedError(400, f"no base64: {error}") from error


def divided(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a note and its signature lines."""
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise RefusedError(400, "no note")
    signatures = []
    for line in lines[:-1].split("\n"):
        dash, name, encoded = [*line.split(" "), "", ""][:3]
        if dash != "\u2014":
            raise RefusedError(400, "no signature line")
        signatures.append((name, decoded(encoded)))
    return text + "\n", signatures


def cosigned_by(note: str, witness: Witness) -> list[int]:
    """The times, in seconds, of the witness's lines in a note; every one has to be its cosignature of the text."""
    text, signatures = divided(note)
    times = []
    for name, data in signatures:
        if name == witness.name and data[:4] == witness.key_hash:
            seconds = int.from_bytes(data[4:12], "big")
            message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
            witness.key.public_key().verify(data[12:], message)
            times.append(seconds)
    return times


@contextmanager
def witness(name: str, *vkeys: str, now: Callable[[], float] = time.time) -> Iterator[Witness]:
    """A running witness that knows these logs."""
    made = Witness(name, hashlib.sha256(name.encode()).digest(), now=now)
    for vkey in vkeys:
        made.knows(vkey)
    with serving(made.answer, lambda: made.raw) as made.port:
        yield made


def policy(*witnesses: Witness, quorum: str) -> str:
    """A policy of these witnesses: `quorum` is `all`, `any` or a number."""
    names = [f"w{number}" for number in range(1, len(witnesses) + 1)]
    lines = [f"witness {name} {each.vkey} {each.url}" for name, each in zip(names, witnesses, strict=True)]
    return "\n".join([*lines, f"group everybody {quorum} {' '.join(names)}", "quorum everybody", ""])
