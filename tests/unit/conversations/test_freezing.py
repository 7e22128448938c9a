"""Packed names and frozen conversations come back as they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY
from compliance_pipelines.conversations.freezing import FrozenThread, pack, unpack
from compliance_pipelines.conversations.keys import KeyKind, KeyLayout
from compliance_pipelines.conversations.scripts import ABSENT
from compliance_pipelines.conversations.threads import Head, packed_keys, split_packed
from compliance_pipelines.conversations.witnesses import Witness

NAMES = st.binary(max_size=20)
DERIVED = st.sampled_from([KeyKind.CHECKPOINT, KeyKind.WRITE, KeyKind.WRITE_REGISTRY])
LAYOUT = KeyLayout("agents", "agents:writes")


@given(
    st.builds(
        FrozenThread,
        keys=st.lists(st.tuples(st.sampled_from(list(KeyKind)), NAMES), max_size=6).map(tuple),
        heads=st.lists(st.tuples(NAMES, NAMES), max_size=4).map(tuple),
        witnesses=st.lists(st.builds(Witness, NAMES, st.text("0123456789abcdef-", max_size=5)), max_size=3).map(tuple),
        closed=st.lists(NAMES, max_size=3).map(tuple),
        closed_thread=st.none() | NAMES,
        latest=st.lists(NAMES, max_size=3).map(tuple),
        key_count=st.integers(0, 10_000),
        shallow_ids=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    )
)
def test_a_frozen_conversation_comes_back_as_it_was(frozen: FrozenThread) -> None:
    again, about = unpack(pack(frozen, {"thread_id": "a:b", "users": ["é"]}))
    assert again == frozen
    assert (about["thread_id"], about["users"]) == ("a:b", ["é"])


def test_what_an_earlier_version_froze_has_a_witness_that_never_holds() -> None:
    header = b'{"first": [[3, "checkpoint_latest:a:b"]], "heads": [], "latest": [], "keys": 1, "pointers": []}'
    frozen, _ = unpack(len(header).to_bytes(4, "little") + header)
    assert frozen.keys == ((KeyKind.LATEST_POINTER, b"checkpoint_latest:a:b"),)
    (witness,) = frozen.witnesses
    assert witness == Witness(ENVIRONMENT_KEY.encode(), ABSENT)


@given(st.lists(st.tuples(DERIVED, NAMES, st.booleans()), max_size=8), st.integers(1, 4))
def test_packed_names_come_back_whole_in_pieces_too(keys: list[tuple[KeyKind, bytes, bool]], size: int) -> None:
    head = Head(b"thread:ns")
    expected: list[tuple[KeyKind, bytes]] = []
    for kind, tail, whole in keys:
        if whole:
            head.pack_whole(kind, tail)
            expected.append((kind, tail))
        else:
            head.pack(kind, tail)
            names = {
                KeyKind.CHECKPOINT: b"agents:thread:ns:" + tail,
                KeyKind.WRITE: b"agents:writes:thread:ns:" + tail,
                KeyKind.WRITE_REGISTRY: b"write_keys_zset:thread:ns:" + tail,
            }
            expected.append((kind, names[kind]))
    assert list(packed_keys(LAYOUT, head.name, head.packed)) == expected
    pieces = list(split_packed(bytes(head.packed), size))
    assert b"".join(pieces) == head.packed
    assert [each for piece in pieces for each in packed_keys(LAYOUT, head.name, piece)] == expected
    assert all(len(list(packed_keys(LAYOUT, head.name, piece))) <= size for piece in pieces)
