from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.checkpoint import (
    BadSignatureError,
    Checkpoint,
    CheckpointOfAnotherLedgerError,
    MalformedKeyError,
    MalformedNoteError,
    SignatureByAnotherKeyError,
    SigningKey,
    VerifierKey,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)

# Source: golang.org/x/mod, sumdb/note/note_test.go (keys and signatures).
PETER_SIGNS = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "\u2014 EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
NOTE = f"{TEXT}\n{PETER_LINE}"

# Source: https://c2sp.org/signed-note, section "Example".
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

# Source: https://c2sp.org/tlog-checkpoint, the example at the top.
CHECKPOINT_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

KEY = SigningKey("example.org/log", bytes(range(32)))

note_characters = st.characters(codec="utf-8", exclude_categories=()).filter(lambda c: c >= " ")
lines = st.text(note_characters)
note_texts = st.lists(lines, min_size=1).map(lambda parts: "".join(part + "\n" for part in parts))


def peter() -> VerifierKey:
    return VerifierKey.from_note_string(PETER)


def test_a_known_key_signs_a_known_text_to_the_known_note() -> None:
    key = SigningKey.from_note_string(PETER_SIGNS)

    assert sign_note(TEXT, key) == NOTE
    assert key.name == "PeterNeumann"
    assert key.to_note_string() == PETER_SIGNS
    assert key.verifier_key().to_note_string() == PETER


@pytest.mark.parametrize(("note", "key"), [(NOTE, PETER), (f"{TEXT}\n{ENOCH_LINE}", ENOCH), (FOO_NOTE, FOO)])
def test_known_notes_open_with_their_known_keys(note: str, key: str) -> None:
    assert open_note(note, VerifierKey.from_note_string(key)) == note[: note.rindex("\n\n") + 1]


@given(note_texts)
def test_what_was_signed_opens_unchanged(text: str) -> None:
    assert open_note(sign_note(text, KEY), KEY.verifier_key()) == text


@given(note_texts, st.data())
def test_an_altered_text_does_not_open(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    replacement = data.draw(note_characters.filter(lambda c: c != text[at]))
    note = sign_note(text, KEY)

    with pytest.raises((BadSignatureError, MalformedNoteError)):
        open_note(note[:at] + replacement + note[at + 1 :], KEY.verifier_key())


@pytest.mark.parametrize("note", [f"{TEXT}\n{ENOCH_LINE}{PETER_LINE}", f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}"])
def test_signatures_of_other_keys_beside_ours_are_passed_over(note: str) -> None:
    assert open_note(note, peter()) == TEXT


def test_even_a_wrong_signature_of_another_key_is_passed_over() -> None:
    wrong = base64.b64encode(bytes.fromhex("af0cfe78") + bytes(64)).decode()

    assert open_note(f"{NOTE}\u2014 EnochRoot {wrong}\n", peter()) == TEXT


@pytest.mark.parametrize(
    "line",
    [
        ENOCH_LINE,
        PETER_LINE.replace("PeterNeumann", "PeterNeuman"),
        PETER_LINE.replace("x08g", "x08h"),
    ],
    ids=["another key", "same hash, another name", "same name, another hash"],
)
def test_a_note_by_another_key_names_who_signed(line: str) -> None:
    name = line.split(" ")[1]
    with pytest.raises(SignatureByAnotherKeyError, match=rf"not signed by PeterNeumann\+c74f20a3, but by {name}\+"):
        open_note(f"{TEXT}\n{line}", peter())


def test_a_wrong_signature_of_our_key_is_not_excused_by_a_right_one() -> None:
    wrong = base64.b64encode(bytes.fromhex("c74f20a3") + bytes(64)).decode()

    for signature_lines in (f"\u2014 PeterNeumann {wrong}\n", f"{PETER_LINE}\u2014 PeterNeumann {wrong}\n"):
        with pytest.raises(BadSignatureError, match="PeterNeumann"):
            open_note(f"{TEXT}\n{signature_lines}", peter())


@pytest.mark.parametrize("length", [1, 63, 65])
def test_a_signature_of_another_length_is_a_wrong_one(length: int) -> None:
    signature = base64.b64encode(bytes.fromhex("c74f20a3") + bytes(length)).decode()

    with pytest.raises(BadSignatureError):
        open_note(f"{TEXT}\n\u2014 PeterNeumann {signature}\n", peter())


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        TEXT,
        TEXT + "\n",
        TEXT + PETER_LINE,
        NOTE.removesuffix("\n"),
        NOTE + "\n",
        NOTE + "Unexpected line.\n",
        "\x01" + NOTE,
        NOTE.replace("problem", "prob\tlem"),
        NOTE.replace("\n", "\r\n"),
        "\ud800" + NOTE,
        NOTE.replace("\u2014", "-"),
        NOTE.replace("\u2014 ", "\u2014"),
        NOTE.replace("\u2014 ", "\u2014  "),
        NOTE.replace("PeterNeumann ", "PeterNeumann  "),
        NOTE.replace("AM=\n", "AM= \n"),
        NOTE.replace("AM=\n", "AM\n"),
        NOTE.replace("AM=\n", "AN=\n"),
        NOTE.replace("x08go", "x08g-"),
        NOTE.replace("x08go", "x08\u00e9o"),
        NOTE.replace("PeterNeumann", "Peter+Neumann"),
        NOTE.replace("PeterNeumann", "Peter\u00a0Neumann"),
        NOTE.replace("PeterNeumann", ""),
        f"{TEXT}\n\u2014 PeterNeumann x08gow==\n",
        f"{NOTE}\u2014 EnochRoot ????\n",
    ],
)
def test_what_is_no_signed_note_is_named_so(note: str) -> None:
    with pytest.raises(MalformedNoteError):
        open_note(note, peter())


def test_sixteen_signatures_are_read_and_a_hundred_and_one_are_not() -> None:
    assert open_note(f"{TEXT}\n{ENOCH_LINE * 15}{PETER_LINE}", peter()) == TEXT
    with pytest.raises(MalformedNoteError, match="more than 100 signatures"):
        open_note(f"{TEXT}\n{PETER_LINE * 101}", peter())


@pytest.mark.parametrize("text", ["", "abc", "a\tb\n", "a\0\n", "a\r\n", "\ud800\n"])
def test_text_that_cannot_stand_in_a_note_is_not_signed(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        sign_note(text, KEY)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\x7f\x00", "\ud800"])
def test_a_name_that_cannot_stand_in_a_note_is_not_given_to_a_key(name: str) -> None:
    with pytest.raises(MalformedKeyError):
        SigningKey.generate(name)


def test_generated_keys_differ_and_survive_being_written_down() -> None:
    keys = [SigningKey.generate("example.org/log") for _ in range(2)]

    assert keys[0].verifier_key() != keys[1].verifier_key()
    for key in keys:
        again = SigningKey.from_note_string(key.to_note_string())
        assert again.verifier_key() == key.verifier_key()
        assert VerifierKey.from_note_string(key.verifier_key().to_note_string()) == key.verifier_key()
        assert again.sign("a") == key.sign("a")


@pytest.mark.parametrize(
    ("read", "text"), [(SigningKey.from_note_string, PETER_SIGNS), (VerifierKey.from_note_string, PETER)]
)
def test_a_damaged_key_is_refused(read: object, text: str) -> None:
    assert callable(read)
    damaged = {text[:start] + text[end:] for start in range(len(text)) for end in range(start + 1, len(text) + 1)}
    damaged |= {text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :] for at in range(len(text))}
    for each in damaged:
        with pytest.raises(MalformedKeyError):
            read(each)


def test_a_key_for_another_algorithm_is_refused() -> None:
    other = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"

    with pytest.raises(MalformedKeyError, match="another algorithm"):
        VerifierKey.from_note_string(other)


def test_a_signing_key_is_not_shown_by_accident() -> None:
    key = SigningKey.from_note_string(PETER_SIGNS)
    secret = PETER_SIGNS.rpartition("c74f20a3+")[2]
    seed = base64.b64decode(secret)[1:]

    for shown in (repr(key), str(key), f"{key}"):
        assert shown == "SigningKey('PeterNeumann+c74f20a3')"
    for damaged in (PETER_SIGNS.replace("c74f", "c74e"), PETER_SIGNS + "A", PETER_SIGNS.replace("+AYEK", "+ZYEK")):
        with pytest.raises(MalformedKeyError) as caught:
            SigningKey.from_note_string(damaged)
        assert secret[5:30] not in str(caught.value)
        assert repr(seed)[5:30] not in str(caught.value)


def test_the_published_checkpoint_is_read_and_written_as_it_is() -> None:
    checkpoint = Checkpoint.from_text(CHECKPOINT_TEXT)

    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20_852_163
    assert checkpoint.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert checkpoint.to_text() == CHECKPOINT_TEXT


@given(st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_opens_unchanged(size: int, root: bytes) -> None:
    checkpoint = Checkpoint(KEY.name, size, root)

    assert open_checkpoint(sign_checkpoint(checkpoint, KEY), KEY.verifier_key()) == checkpoint


@given(lines.filter(bool), st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_is_read_as_it_was_written(origin: str, size: int, root: bytes) -> None:
    assert Checkpoint.from_text(Checkpoint(origin, size, root).to_text()) == Checkpoint(origin, size, root)


def test_a_checkpoint_of_a_ledger_that_does_not_bear_the_name_of_its_key_is_refused() -> None:
    note = sign_note(CHECKPOINT_TEXT, KEY)

    with pytest.raises(CheckpointOfAnotherLedgerError, match=r"'example\.com/behind-the-sofa'"):
        open_checkpoint(note, KEY.verifier_key())


def test_extension_lines_are_signed_and_passed_over() -> None:
    key = SigningKey("example.com/behind-the-sofa", bytes(range(32)))
    note = sign_note(CHECKPOINT_TEXT + "extension 1\nextension 2\n", key)

    assert open_checkpoint(note, key.verifier_key()) == Checkpoint.from_text(CHECKPOINT_TEXT)
    with pytest.raises(BadSignatureError):
        open_checkpoint(note.replace("extension 2\n", ""), key.verifier_key())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        CHECKPOINT_TEXT.removesuffix("\n"),
        CHECKPOINT_TEXT + "\n",
        CHECKPOINT_TEXT + "extension",
        CHECKPOINT_TEXT + "\nextension\n",
        CHECKPOINT_TEXT.partition("\n")[2],
        "\n" + CHECKPOINT_TEXT.partition("\n")[2],
        *[
            CHECKPOINT_TEXT.replace("20852163", size)
            for size in ("", "-1", "+1", "01", " 1", "1.0", "x", "\u0663", str(2**64))
        ],
        CHECKPOINT_TEXT.replace("q2I=", "q2I"),
        CHECKPOINT_TEXT.replace("q2I=", "q2J="),
        CHECKPOINT_TEXT.replace("q2I=", ""),
        CHECKPOINT_TEXT.replace("CsUY", "CsUYCsUY"),
    ],
)
def test_what_is_no_checkpoint_is_named_so_even_when_it_is_signed(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        Checkpoint.from_text(text)
    if text.endswith("\n"):
        with pytest.raises(MalformedNoteError):
            open_checkpoint(sign_note(text, KEY), KEY.verifier_key())


@pytest.mark.parametrize(
    ("origin", "size", "root"), [("", 1, bytes(32)), ("a\nb", 1, bytes(32)), ("a", -1, bytes(32)), ("a", 1, bytes(31))]
)
def test_a_checkpoint_that_could_not_be_read_again_is_not_made(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(MalformedNoteError):
        Checkpoint(origin, size, root)


def test_the_name_of_another_signer_does_nothing_to_a_terminal() -> None:
    ours = SigningKey("example.org/audit", bytes(32))
    theirs = SigningKey("example\ufeff.org/\u202eaudit" + "x" * 5_000, bytes(32))
    note = sign_checkpoint(Checkpoint(theirs.name, 1, bytes(32)), theirs)
    with pytest.raises(SignatureByAnotherKeyError) as refused:
        open_checkpoint(note, ours.verifier_key())
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500
