from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.publication import (
    CheckpointMissingError,
    ForeignCheckpointError,
    LedgerError,
    MalformedPublicationError,
    Publication,
    open_published,
    publication_key,
    published_keys,
    read_publication,
    size_of_key,
)
from tests.unit.ledger import stranger, vectors
from tests.unit.ledger.alterations import alterations

if TYPE_CHECKING:
    from compliance_pipelines.object_store.local import LocalObjectStore

FIRST, SECOND = vectors.objects().values()
SIGNER: Final = SigningKey.from_note_string(vectors.json_box("key")["private_key"])


def written(document: object) -> bytes:
    """A document with the bytes of the format."""
    return (json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def test_an_object_is_read_as_it_was_written() -> None:
    for data in (FIRST, SECOND):
        assert Publication.from_bytes(data).to_bytes() == data


def opened(data: bytes) -> Publication | None:
    """The object, its bytes, its signature and its size checked; None where they are refused."""
    try:
        publication = Publication.from_bytes(data)
        open_published(publication, SIGNER.verifier_key(), "the object")
    except LedgerError:
        return None
    return publication


def test_an_object_with_other_bytes_is_refused_or_has_other_records() -> None:
    """Whatever is not refused here leads to another root, which is for the caller to compare with the signed one."""
    records = Publication.from_bytes(FIRST).segments
    for at in range(len(FIRST)):
        for altered in (FIRST[:at], FIRST[:at] + FIRST[at + 1 :], FIRST[:at] + b" " + FIRST[at:]):
            publication = opened(altered)
            assert publication is None or publication.segments != records, altered


def test_an_altered_object_is_refused_or_has_other_records() -> None:
    records = Publication.from_bytes(FIRST).segments
    for where, altered in alterations(json.loads(FIRST)):
        publication = opened(written(altered))
        assert publication is None or publication.segments != records, where


def test_a_stranger_rebuilds_no_ledger_from_an_altered_object() -> None:
    key = stranger.read_public_key(SIGNER.verifier_key().to_note_string())
    for where, altered in alterations(json.loads(FIRST)):
        try:
            stranger.rebuild({publication_key(2): written(altered)}, key)
        except (ValueError, TypeError, AttributeError, KeyError):
            continue
        pytest.fail(where)


@pytest.mark.parametrize(
    "change",
    [
        {"previous_size": False},
        {"previous_size": 0.0},
        {"previous_size": -1},
        {"previous_size": 1},
        {"segments": []},
        {"segments": json.loads(FIRST)["segments"][::-1]},
        {"segments": json.loads(FIRST)["segments"][1:]},
        {"checkpoint": 5},
        {"checkpoint": ["a"]},
        {"another": 1},
    ],
)
def test_an_object_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedPublicationError):
        Publication.from_bytes(written({**json.loads(FIRST), **change}))


@pytest.mark.parametrize("data", [b"", b"null\n", b"[]\n", b"5\n", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_named_so(data: bytes) -> None:
    with pytest.raises(MalformedPublicationError):
        Publication.from_bytes(data)


def test_an_object_is_judged_by_its_signature_and_size() -> None:
    publication = Publication.from_bytes(SECOND)
    assert open_published(publication, SIGNER.verifier_key(), "the object").size == 3
    another = SigningKey(SIGNER.name, bytes(32)).verifier_key()
    with pytest.raises(ForeignCheckpointError, match="the object is not validly signed by"):
        open_published(publication, another, "the object")
    with pytest.raises(MalformedPublicationError, match="signed for 3 segments but holds records up to 2"):
        open_published(Publication(publication.note, 1, publication.segments), SIGNER.verifier_key(), "the object")


def test_keys_sort_as_sizes_do() -> None:
    sizes = [1, 9, 10, 99, 100, 12_345_678_901, 2**63 - 1]
    keys = [publication_key(size) for size in sizes]
    assert keys == sorted(keys)
    assert [size_of_key(key) for key in keys] == sizes


@pytest.mark.parametrize(
    "name", ["1.json", f"{'1' * 20}.json.tmp", f"{'1' * 19}x.json", f"a/{'1' * 20}.json", "٣" * 20 + ".json"]
)
def test_other_keys_are_no_checkpoints(name: str) -> None:
    assert size_of_key(f"audit-ledger/checkpoints/{name}") is None


def test_the_checkpoints_after_a_size_are_listed_in_order(object_store: LocalObjectStore) -> None:
    for size in (10, 2, 1, 3):
        object_store.put_bytes(publication_key(size), b"x")
    object_store.put_bytes("audit-ledger/checkpoints/notes.txt", b"x")
    object_store.put_bytes("audit-ledger/z", b"x")
    assert [size for size, _ in published_keys(object_store)] == [1, 2, 3, 10]
    assert [size for size, _ in published_keys(object_store, after_size=2)] == [3, 10]


def test_an_object_is_read_from_its_key_alone(object_store: LocalObjectStore) -> None:
    object_store.put_bytes(publication_key(2), FIRST)
    object_store.put_bytes(publication_key(4), SECOND)
    object_store.put_bytes(publication_key(5), b"x")
    assert read_publication(object_store, 2).to_bytes() == FIRST
    with pytest.raises(CheckpointMissingError, match="checkpoint 3 was published and is no longer at file:"):
        read_publication(object_store, 3)
    with pytest.raises(MalformedPublicationError, match=r"4\.json was altered: it holds the checkpoint of 3 segments"):
        read_publication(object_store, 4)
    with pytest.raises(MalformedPublicationError, match=r"5\.json was altered: it is no checkpoint object"):
        read_publication(object_store, 5)
