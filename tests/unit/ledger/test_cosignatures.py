"""A cosignature counts for the key, the name, the text and the time that were signed, and for nothing else."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.checkpoint import (
    MalformedKeyError,
    MalformedNoteError,
    SigningKey,
    open_checkpoint,
    parsed_note,
    sign_note,
)
from compliance_pipelines.ledger.cosignatures import WitnessKey, cosigned, with_cosignatures
from tests.support.witness import Witness

KEY = SigningKey("example.org/log", bytes(range(32)))
W1 = Witness("witness.example/w1", bytes([1] * 32))
W2 = Witness("witness.example/w2", bytes([2] * 32))
TEXT = f"example.org/log\n7\n{base64.b64encode(bytes(32)).decode()}\n"
NOTE = sign_note(TEXT, KEY)
SECONDS = 1_780_000_000

# Source: https://c2sp.org/tlog-cosignature, the example; its key is not published, and the lines have to be read.
PUBLISHED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo"
    "+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo"
    "0xUe+mbIUBkBIfZ+qnA==\n"
)


def key_of(witness: Witness) -> WitnessKey:
    return WitnessKey.from_note_string(witness.vkey)


def test_a_cosigned_note_names_its_witnesses_and_their_times() -> None:
    note = NOTE + W1.line(TEXT, SECONDS) + W2.line(TEXT, SECONDS + 5)

    said = cosigned(note, [key_of(W1), key_of(W2)])

    assert {key.name: time.timestamp() for key, time in said.times.items()} == {
        W1.name: SECONDS,
        W2.name: SECONDS + 5,
    }
    assert not said.bad
    assert open_checkpoint(note, KEY.verifier_key()).size == 7, "other lines do not disturb the ledger's own"


def test_lines_of_unknown_keys_are_passed_over_also_under_a_known_name() -> None:
    stranger = Witness(W1.name, bytes([9] * 32))

    said = cosigned(NOTE + stranger.line(TEXT, SECONDS), [key_of(W1)])

    assert not said.times
    assert not said.bad


def test_a_published_line_is_read_with_its_time() -> None:
    _, (_, witness_line) = parsed_note(PUBLISHED)

    assert len(witness_line.signature) == 72
    assert int.from_bytes(witness_line.signature[:8], "big") == 1679315147, "the time in the document's example"


@given(st.integers(0, 71), st.integers(1, 255))
def test_a_line_with_another_byte_is_bad_and_takes_the_witness_out(at: int, difference: int) -> None:
    good = W1.line(TEXT, SECONDS)
    data = bytearray(base64.b64decode(good.split(" ")[2]))
    data[4 + at] ^= difference
    bad = f"\u2014 {W1.name} {base64.b64encode(bytes(data)).decode()}\n"

    said = cosigned(NOTE + good + bad, [key_of(W1)])

    assert not said.times
    assert list(said.bad) == [key_of(W1)]


@pytest.mark.parametrize("length", [0, 63, 64, 71, 73])
def test_a_line_of_another_length_is_bad(length: int) -> None:
    data = base64.b64encode(W1.key_hash + bytes(length + 1))
    said = cosigned(f"{NOTE}\u2014 {W1.name} {data.decode()}\n", [key_of(W1)])

    assert said.bad
    assert not said.times


def test_the_ledgers_own_signature_is_no_cosignature_although_the_key_is_the_same() -> None:
    """The type is in the key's hash, and the signed message begins otherwise."""
    witness = Witness(KEY.name, bytes(range(32)))
    own_line = NOTE.rpartition("\n\n")[2]
    data = base64.b64decode(own_line.split(" ")[2])
    forged = base64.b64encode(witness.key_hash + bytes(8) + data[4:]).decode()

    assert not cosigned(NOTE, [key_of(witness)]).times
    assert not cosigned(f"{NOTE}\u2014 {KEY.name} {forged}\n", [key_of(witness)]).times


def test_a_time_that_no_calendar_has_is_bad() -> None:
    assert cosigned(NOTE + W1.line(TEXT, 2**63 - 1), [key_of(W1)]).bad


def test_a_new_line_takes_the_place_of_the_same_keys_and_leaves_the_others() -> None:
    once = with_cosignatures(NOTE, parsed_note(NOTE + W1.line(TEXT, SECONDS) + W2.line(TEXT, SECONDS))[1][1:])
    again = with_cosignatures(once, parsed_note(NOTE + W1.line(TEXT, SECONDS + 9))[1][1:])

    assert once == NOTE + W1.line(TEXT, SECONDS) + W2.line(TEXT, SECONDS)
    assert again == NOTE + W2.line(TEXT, SECONDS) + W1.line(TEXT, SECONDS + 9)
    assert with_cosignatures(again, []) == again


def test_a_note_that_is_full_of_lines_takes_no_more() -> None:
    full = NOTE + "".join(Witness(f"w{number}", bytes(32)).line(TEXT, 1) for number in range(99))

    with pytest.raises(MalformedNoteError, match="no further signature"):
        with_cosignatures(full, parsed_note(NOTE + W1.line(TEXT, SECONDS))[1][1:])


def test_a_witnesss_key_is_of_its_own_type_and_undamaged() -> None:
    public = hashlib.sha256(b"").digest()
    assert key_of(W1) == WitnessKey(W1.name, W1.key.public_key().public_bytes_raw())
    with pytest.raises(MalformedKeyError, match="0x04 is needed"):
        WitnessKey.from_note_string(KEY.verifier_key().to_note_string())
    with pytest.raises(MalformedKeyError, match="damaged"):
        WitnessKey.from_note_string(W1.vkey.replace(W1.key_hash.hex(), "00000000"))
    with pytest.raises(MalformedKeyError, match="32 bytes"):
        WitnessKey("w", public[:31])
    with pytest.raises(MalformedKeyError, match="no key name"):
        WitnessKey("a name", public)
