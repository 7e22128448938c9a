"""Witnesses are asked about the newest checkpoint; whatever they answer, only their cosignatures are believed."""

from __future__ import annotations

import base64
import random
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from compliance_pipelines.base.asking import Deadline
from compliance_pipelines.ledger.errors import TilesAlteredError
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY, day_key, read_head
from compliance_pipelines.ledger.merkle import consistency_path, merkle_root, verify_consistency
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tile_proofs import TileTree
from compliance_pipelines.ledger.tiles import Tile
from compliance_pipelines.ledger.witnessing import Witnessed, ask_witnesses
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectStoreError
from tests.integration.archive.faulty_store import Fault, FaultyStore
from tests.support.replies import Reply
from tests.support.witness import Witness, cosigned_by, policy, witness
from tests.unit.ledger.logs import BEGIN, KEY, extend, made_log, record
from tests.unit.ledger.outside import NOW, services_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from compliance_pipelines.object_store.port import ObjectStore

VKEY: Final = KEY.verifier_key().to_note_string()


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path / "cold")
    store.create()
    return store


@pytest.fixture
def witnesses() -> Iterator[tuple[Witness, Witness, Witness]]:
    """Three of them, which know the ledger."""
    with ExitStack() as stack:
        one, two, three = (
            stack.enter_context(witness(f"w{number}.example", VKEY, now=NOW.timestamp)) for number in (1, 2, 3)
        )
        yield one, two, three


def note_of(store: LocalObjectStore, key: str = CHECKPOINT_KEY) -> str:
    return store.get_bytes(key).decode()


def ask(store: LocalObjectStore, *asked: Witness, quorum: str = "all", seconds: float = 20) -> Witnessed:
    services = services_of(
        store, ledger_witnesses=policy(*asked, quorum=quorum), ledger_outside_timeout_seconds=seconds
    )
    witnessed = ask_witnesses(services)
    assert witnessed is not None
    return witnessed


def agreed(witnessed: Witnessed) -> bool:
    assert witnessed.newest is not None
    return witnessed.newest.agreed


def test_the_newest_checkpoint_gets_the_lines_of_the_witnesses_and_stays_the_ledgers(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    log = made_log(store, [3])

    witnessed = ask(store, *witnesses)

    assert agreed(witnessed)
    assert not witnessed.problems
    note = note_of(store)
    assert note.startswith(log.note)
    assert all(cosigned_by(note, each) == [int(NOW.timestamp())] for each in witnesses)
    assert note_of(store, COSIGNED_KEY) == note
    again = read_head(store, KEY.verifier_key())
    assert (again.head, again.records) == (log.head, log.records), "sealing goes on from it"


def test_nobody_is_asked_twice_about_one_checkpoint(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    made_log(store, [3])
    ask(store, *witnesses)
    objects = note_of(store), note_of(store, COSIGNED_KEY)

    ask(store, *witnesses)

    assert [len(each.requests) for each in witnesses] == [1, 1, 1]
    assert (note_of(store), note_of(store, COSIGNED_KEY)) == objects


@pytest.mark.parametrize("passes", [[1, 1], [3, 253, 1], [256, 1], [256, 256], [255, 1, 255, 300, 7]])
def test_a_grown_ledger_is_proved_to_a_witness_that_checks_it_strictly(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness], passes: list[int]
) -> None:
    one = witnesses[0]
    log = made_log(store, passes[:1])
    ask(store, one)
    for number, count in enumerate(passes[1:], start=1):
        first = log.head.size
        log = extend(store, log, [record(seq, BEGIN) for seq in range(first, first + count)])
        assert agreed(ask(store, one)), one.requests[-1][:200]
        assert len(one.requests) == number + 1, "what it knows is known from its last cosignature"
    assert (one.logs[KEY.name].size, one.logs[KEY.name].root) == (log.head.size, log.head.root)


def test_every_consistency_path_from_tiles_is_that_of_the_rfc(store: LocalObjectStore) -> None:
    log = made_log(store, [])
    roots: dict[int, bytes] = {}
    for seq in range(40):
        log = extend(store, log, [record(seq, BEGIN)])
        roots[log.head.size] = log.head.root

    tree = TileTree(store, 40, roots[40])

    for old, root in roots.items():
        verify_consistency(old, 40, root, roots[40], tree.consistency_path(old))
    assert tree.consistency_path(0) == []
    with pytest.raises(ValueError, match="does not begin with one of 41"):
        tree.consistency_path(41)


def test_paths_over_three_levels_of_tiles_are_those_over_all_leaves(store: LocalObjectStore) -> None:
    size = 2 * 65_536 + 3 * 256 + 5
    leaves = np.frombuffer(random.Random(1).randbytes(32 * size), dtype=np.uint8).reshape(-1, 32)  # noqa: S311
    edge = TileEdge()
    for tile, data in (*edge.extend(leaves), *edge.partial_tiles()):
        store.put_bytes(tile.key, data)
    tree = TileTree(store, size, merkle_root(leaves))

    for old in (257, 65_535, 65_536, 131_072, size - 1):
        assert tree.consistency_path(old) == consistency_path(leaves, old), old


def test_a_witness_whose_size_is_not_known_says_it_and_gets_the_proof(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    one = witnesses[0]
    log = made_log(store, [5])
    ask(store, one)
    extend(store, log, [record(seq, BEGIN) for seq in range(5, 9)])
    store.delete(COSIGNED_KEY)

    assert agreed(ask(store, one))

    sizes = [body.split(b"\n")[0] for body in one.requests]
    assert sizes == [b"old 0", b"old 0", b"old 5"]


def test_a_witness_that_forgot_everything_begins_anew(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    one = witnesses[0]
    log = made_log(store, [5])
    ask(store, one)
    extend(store, log, [record(5, BEGIN)])
    one.knows(VKEY)

    assert agreed(ask(store, one))


def test_as_many_as_must_agree_are_enough_and_the_others_are_named(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    made_log(store, [3])
    witnesses[2].instead = lambda _body: Reply(503, b"later")

    witnessed = ask(store, *witnesses, quorum="2")

    assert agreed(witnessed)
    assert list(witnessed.problems) == ["w3"]
    assert "HTTP status 503 ('later')" in witnessed.problems["w3"]
    assert not witnessed.contradictions
    witnesses[2].instead = None
    assert not ask(store, *witnesses, quorum="2").problems
    assert all(cosigned_by(note_of(store, COSIGNED_KEY), each) for each in witnesses), (
        "who came later stands there, too"
    )


def test_what_is_short_of_the_quorum_leaves_the_cosigned_checkpoint_where_it_was(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    log = made_log(store, [3])
    ask(store, *witnesses)
    before = note_of(store, COSIGNED_KEY)
    extend(store, log, [record(3, BEGIN)])
    witnesses[1].instead = witnesses[2].instead = lambda _body: Reply(500)

    assert not agreed(ask(store, *witnesses, quorum="2"))

    assert note_of(store, COSIGNED_KEY) == before
    assert cosigned_by(note_of(store), witnesses[0]), "the line that there is stands in the newest"
    witnesses[1].instead = None
    assert agreed(ask(store, *witnesses, quorum="2"))
    assert len(witnesses[0].requests) == 2, "who cosigned it already is not asked again"


def garbage(_one: Witness) -> Callable[[bytes], Reply]:
    return lambda _body: Reply(200, b"\xff\x00 nonsense")


def nothing(_one: Witness) -> Callable[[bytes], Reply]:
    return lambda _body: Reply(200, b"")


def another_witness(one: Witness) -> Callable[[bytes], Reply]:
    other = Witness(one.name, bytes([7] * 32))
    return lambda body: Reply(200, other.line(text_in(body), int(NOW.timestamp())).encode())


def another_text(one: Witness) -> Callable[[bytes], Reply]:
    return lambda body: Reply(200, one.line(text_in(body).replace("\n3\n", "\n4\n"), int(NOW.timestamp())).encode())


def a_good_line_and_a_bad_one(one: Witness) -> Callable[[bytes], Reply]:
    seconds = int(NOW.timestamp())
    return lambda body: Reply(200, (one.line(text_in(body), seconds) + one.line("x\n", seconds)).encode())


def the_future(one: Witness) -> Callable[[bytes], Reply]:
    return lambda body: Reply(200, one.line(text_in(body), int(NOW.timestamp()) + 3600).encode())


def elsewhere(_one: Witness) -> Callable[[bytes], Reply]:
    return lambda _body: Reply(302, headers={"Location": "file:///etc/passwd"})


def elsewhere_in_http(one: Witness) -> Callable[[bytes], Reply]:
    return lambda _body: Reply(307, headers={"Location": f"{one.url}/add-checkpoint"})


def too_much(_one: Witness) -> Callable[[bytes], Reply]:
    return lambda _body: Reply(200, b"\xe2\x80\x94 " * 2**18)


def a_conflict_without_a_size(_one: Witness) -> Callable[[bytes], Reply]:
    return lambda _body: Reply(409, b"busy")


def sizes_without_end(_one: Witness) -> Callable[[bytes], Reply]:
    sizes = iter(range(1, 1000))
    return lambda _body: Reply(409, b"%d\n" % (next(sizes) % 3), "text/x.tlog.size")


def a_size_of_many_digits(_one: Witness) -> Callable[[bytes], Reply]:
    return lambda _body: Reply(409, b"9" * 5000, "text/x.tlog.size")


def a_proof_of_nothing_refused(_one: Witness) -> Callable[[bytes], Reply]:
    return lambda _body: Reply(422)


def text_in(body: bytes) -> str:
    return body.decode().split("\n\n")[1] + "\n"


@pytest.mark.parametrize(
    "fault",
    [
        garbage,
        nothing,
        another_witness,
        another_text,
        a_good_line_and_a_bad_one,
        the_future,
        elsewhere,
        elsewhere_in_http,
        too_much,
        a_conflict_without_a_size,
        sizes_without_end,
        a_size_of_many_digits,
        a_proof_of_nothing_refused,
    ],
)
def test_what_is_no_cosignature_is_told_and_stored_nowhere(
    store: LocalObjectStore,
    witnesses: tuple[Witness, Witness, Witness],
    fault: Callable[[Witness], Callable[[bytes], Reply]],
) -> None:
    log = made_log(store, [3])
    one = witnesses[0]
    one.instead = fault(one)

    witnessed = ask(store, one)

    assert list(witnessed.problems) == ["w1"]
    assert witnessed.problems["w1"].isprintable()
    assert not witnessed.contradictions
    assert note_of(store) == log.note
    assert store.stat(COSIGNED_KEY) is None
    assert len(one.requests) <= 3, "no redirect is followed, and nothing is asked for ever"


def drips_headers(connection: Any) -> None:  # noqa: ANN401 - a socket
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    drip(connection, b"X-Slow: 1\r\n")


def drips_body(connection: Any) -> None:  # noqa: ANN401 - a socket
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    drip(connection, b"x")


def drips_interim_answers(connection: Any) -> None:  # noqa: ANN401 - a socket
    drip(connection, b"HTTP/1.1 100 Continue\r\n\r\n")


def drip(connection: Any, data: bytes) -> None:  # noqa: ANN401 - a socket
    """A byte now and then, as long as somebody listens."""
    connection.settimeout(0.05)
    while True:
        for byte in data:
            try:
                if connection.recv(1) == b"":
                    return
            except TimeoutError:
                pass
            connection.sendall(bytes([byte]))


def says_no_http(connection: Any) -> None:  # noqa: ANN401 - a socket
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def hangs_up(connection: Any) -> None:  # noqa: ANN401 - a socket
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")


@pytest.mark.parametrize("behaviour", [drips_headers, drips_body, drips_interim_answers, says_no_http, hangs_up])
def test_a_witness_that_never_comes_to_an_end_is_left_and_the_others_count(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness], behaviour: Callable[[Any], None]
) -> None:
    made_log(store, [3])
    witnesses[0].raw = behaviour

    witnessed = ask(store, *witnesses, quorum="2", seconds=1.0)

    assert list(witnessed.problems) == ["w1"]
    assert agreed(witnessed)


def test_a_witness_that_is_not_there_is_told(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    made_log(store, [3])
    away = Witness("away.example", bytes([8] * 32), port=1)

    witnessed = ask(store, away, witnesses[1], quorum="any")

    assert list(witnessed.problems) == ["w1"]
    assert "cannot be asked" in witnessed.problems["w1"]
    assert agreed(witnessed)


def test_a_witness_that_does_not_know_the_ledger_or_its_key_says_what_to_do(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    made_log(store, [3])
    one, two, _ = witnesses
    one.logs.clear()
    two.logs[KEY.name].key_hash = b"\x00" * 4

    problems = ask(store, one, two).problems

    assert "does not know tests.example/log: have its operator add it" in problems["w1"]
    assert "another key for tests.example/log" in problems["w2"]


def test_a_ledger_that_was_rewritten_is_told_at_once(
    store: LocalObjectStore, tmp_path: Path, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    """By a witness that has seen the one: of the same size, of a smaller size, of a larger size."""
    made_log(store, [3])
    ask(store, *witnesses)
    for name, passes, said in (
        ("same", [3], "has cosigned another checkpoint of 3 records"),
        ("larger", [5], "has cosigned another ledger of 3 records than the first 3 of this one"),
        ("smaller", [2], "has cosigned a checkpoint of 3 records, and the newest here is of 2"),
    ):
        other = LocalObjectStore(tmp_path / name)
        other.create()
        log = made_log(other, passes, variant=1)

        witnessed = ask(other, witnesses[0])

        assert list(witnessed.contradictions) == ["w1"]
        assert said in witnessed.contradictions["w1"]
        assert note_of(other) == log.note
        assert other.stat(COSIGNED_KEY) is None


def test_a_witness_that_somebody_asked_about_a_newer_checkpoint_meanwhile_contradicts_nothing(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    one = witnesses[0]
    log = made_log(store, [3])

    def grown_meanwhile(_body: bytes) -> Reply:
        extend(store, log, [record(3, BEGIN)])
        return Reply(409, b"4\n", "text/x.tlog.size")

    one.instead = grown_meanwhile
    witnessed = ask(store, one)

    assert witnessed.problems == {"w1": "somebody else asked it about a newer checkpoint meanwhile"}
    assert not witnessed.contradictions


def test_a_quorum_for_a_checkpoint_that_was_replaced_meanwhile_is_kept_and_the_newer_one_left_alone(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    one = witnesses[0]
    log = made_log(store, [3])
    newer: list[str] = []

    def sealed_meanwhile(_body: bytes) -> None:
        if not newer:
            newer.append(extend(store, log, [record(3, BEGIN)]).note)

    one.instead = sealed_meanwhile
    ask(store, one)

    assert note_of(store) == newer[0]
    assert note_of(store, COSIGNED_KEY).startswith(log.note)
    assert cosigned_by(note_of(store, COSIGNED_KEY), one)


def test_two_who_ask_at_once_keep_each_others_lines(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    one, two, _ = witnesses
    made_log(store, [3])
    asked_two: list[Witnessed] = []

    def another_process(_body: bytes) -> None:
        if not asked_two:
            asked_two.append(ask(store, two))

    one.instead = another_process
    ask(store, one)

    for key in (CHECKPOINT_KEY, COSIGNED_KEY):
        assert cosigned_by(note_of(store, key), one), key
        assert cosigned_by(note_of(store, key), two), key


def test_sealing_goes_on_over_a_checkpoint_that_was_cosigned_since_it_was_read(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    log = made_log(store, [3])
    ask(store, *witnesses)

    grown = extend(store, log, [record(3, BEGIN)])

    assert note_of(store) == grown.note
    assert read_head(store, KEY.verifier_key()).head == grown.head


def test_a_days_last_checkpoint_is_kept_with_its_cosignatures(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    """Also where the pass had read it before they were there, and where it was interrupted after keeping it."""
    log = made_log(store, [3])
    tomorrow = BEGIN.replace(day=BEGIN.day + 1)
    ask(store, witnesses[0])

    class StoppedError(Exception):
        pass

    def stop(name: str) -> None:
        if name == "day kept":
            raise StoppedError

    with pytest.raises(StoppedError):
        extend(store, log, [record(3, tomorrow)], stop)
    kept = note_of(store, day_key(BEGIN.date()))
    assert cosigned_by(kept, witnesses[0])
    ask(store, *witnesses)
    extend(store, read_head(store, KEY.verifier_key()), [record(3, tomorrow)])

    assert note_of(store, day_key(BEGIN.date())) == kept, "what is kept for good is not replaced"


def test_a_bad_line_in_a_witnesss_name_is_replaced_by_a_good_one(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    log = made_log(store, [3])
    bad = witnesses[0].line("something else\n", 1)
    assert log.version is not None
    store.replace(CHECKPOINT_KEY, (log.note + bad).encode(), log.version)

    assert agreed(ask(store, witnesses[0]))

    assert bad not in note_of(store)
    assert cosigned_by(note_of(store), witnesses[0])


@pytest.mark.parametrize("done", [False, True])
def test_whatever_call_of_the_store_fails_the_next_time_finishes_it(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness], done: bool
) -> None:
    """Whether the store did what it was asked or not."""
    log = made_log(store, [3])
    ask_of(store, *witnesses[:2])
    grown = extend(store, log, [record(3, BEGIN)])
    calls = 0
    while True:
        calls += 1
        faulty = FaultyStore(store, Fault(call=calls, done=done))
        with suppress(ObjectStoreError):
            ask_of(faulty, *witnesses[:2])
        if len(faulty.calls) < calls:
            break
        assert note_of(store).startswith(grown.note)
        ask(store, *witnesses[:2])
        for key in (CHECKPOINT_KEY, COSIGNED_KEY):
            assert note_of(store, key).startswith(grown.note), calls
            assert all(cosigned_by(note_of(store, key), each) for each in witnesses[:2]), calls
        grown = extend(store, read_head(store, KEY.verifier_key()), [record(grown.head.size, BEGIN)])
    assert calls > 5


def ask_of(store: ObjectStore, *asked: Witness) -> None:
    ask_witnesses(services_of(store, ledger_witnesses=policy(*asked, quorum="all")))


def test_altered_tiles_are_no_witnesss_fault(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    log = made_log(store, [3])
    ask(store, witnesses[0])
    extend(store, log, [record(seq, BEGIN) for seq in range(3, 9)])
    tile = Tile(0, 0, 9)
    data = store.get_bytes(tile.key)
    store.delete(tile.key)
    store.put_bytes(tile.key, data[::-1])

    witnessed = ask(store, witnesses[0])

    assert not witnessed.contradictions
    assert "they were altered" in witnessed.problems["w1"]
    with pytest.raises(TilesAlteredError):
        TileTree(store, 9, bytes(32)).consistency_path(3)
    store.delete(tile.key)
    with pytest.raises(TilesAlteredError, match="is not there"):
        TileTree(store, 9, bytes(32)).consistency_path(3)


def test_without_a_policy_or_a_ledger_nobody_is_asked(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    assert ask_witnesses(services_of(store)) is None
    assert ask(store, *witnesses).newest is None
    assert not witnesses[0].requests


def test_a_request_is_as_the_specification_writes_it(
    store: LocalObjectStore, witnesses: tuple[Witness, Witness, Witness]
) -> None:
    one = witnesses[0]
    log = made_log(store, [2])
    ask(store, one)
    grown = extend(store, log, [record(2, BEGIN)])
    ask(store, one)

    path = [base64.b64encode(node).decode() for node in TileTree(store, 3, grown.head.root).consistency_path(2)]
    assert one.requests == [
        f"old 0\n\n{log.note}".encode(),
        ("old 2\n" + "".join(f"{node}\n" for node in path) + f"\n{grown.note}").encode(),
    ]


def test_a_deadline_that_is_past_leaves_no_time() -> None:
    with pytest.raises(TimeoutError):
        Deadline(0).left()
