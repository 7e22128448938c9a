"""What every adapter of the object store promises, as tests.

An adapter's test class inherits `ObjectStoreContract` and gives the fixture `store`: an empty store of its own for each
test.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance_pipelines.object_store.port import (
    InvalidKeyError,
    ObjectExistsError,
    ObjectInfo,
    ObjectMissingError,
    ObjectReplacedError,
    ObjectStore,
    ObjectStoreError,
    OversizedObjectError,
    RefusedByStoreError,
    UnsupportedByStoreError,
)
from tests.unit.object_store.key_strategies import KEY_SETS, in_byte_order, key_beginnings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

KEY = "audit-archives/2025/10/audit-logs-2025-10-01.1-0a1b2c3d.0.parquet"
SEVERAL_BUFFERS = bytes(range(256)) * 12_345  # 3 MB, no multiple of a power of two
INVALID_KEYS = {
    "empty": "",
    "leading slash": "/a",
    "trailing slash": "a/",
    "empty segment": "a//b",
    "dot": ".",
    "dot segment": "a/./b",
    "two dots": "..",
    "two dots first": "../a",
    "two dots last": "a/..",
    "line feed": "a\nb",
    "NUL": "a\0b",
    "delete": "a\x7fb",
    "C1 control": "a\x85b",
    "backslash": "a\\b",
    "lone surrogate": "a\ud800b",
    "1025 bytes": "/".join(["x" * 204] * 5 + ["y"])[:1025].ljust(1025, "y"),
    "1025 bytes in fewer characters": "/".join(["é" * 100] * 5) + "/" + "é" * 10,
    "segment of 256 bytes": "x" * 256,
    "reserved": ".object-store/staging/x",
}
REMARKABLE_KEYS = [
    "x",
    ".hidden",
    "...",
    "a..b/..c/d..",
    "a/.object-store/b",
    ".object-store-2/b",
    "with space/%2F+?#[]*&=;:@'\"<>|~$!,",
    "-",
    "-rf",
    "Größe/日本語/🂡",
    "é",
    "e\u0301",
    "x" * 255,
    "/".join(["x" * 204] * 5),
]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def as_listed(info: ObjectInfo, found: ObjectInfo) -> ObjectInfo:
    """What a listing says of an object: services list no checksums."""
    return info if found.sha256 is not None else ObjectInfo(info.key, info.size, None)


def keys_of(store: ObjectStore, prefix: str = "", start_after: str | None = None) -> list[str]:
    return [info.key for info in store.list(prefix, start_after)]


class ObjectStoreContract:
    """Each test is for every adapter.

    Attributes:
        remarkable_keys: those that the service behind the adapter takes.
        may_refuse_disorder: whether the service behind the adapter may list keys in an order that is not theirs, which
            the adapter then has to notice.
    """

    remarkable_keys: ClassVar[Sequence[str]] = REMARKABLE_KEYS
    may_refuse_disorder: ClassVar[bool] = False

    def keys_or_refusal(self, store: ObjectStore, prefix: str = "", start_after: str | None = None) -> list[str] | None:
        """The keys of a listing; None where the adapter refuses the service's order."""
        try:
            return keys_of(store, prefix, start_after)
        except ObjectStoreError as error:
            if self.may_refuse_disorder and "order" in str(error):
                return None
            raise

    @pytest.fixture
    def source(self, tmp_path: Path) -> Callable[[bytes], Path]:
        """Write a file to be stored."""

        def write(data: bytes) -> Path:
            path = tmp_path / f"source-{digest(data)[:8]}"
            path.write_bytes(data)
            return path

        return write

    def test_it_is_an_object_store(self, store: ObjectStore) -> None:
        assert isinstance(store, ObjectStore)

    @pytest.mark.parametrize("data", [b"", b"x", SEVERAL_BUFFERS], ids=["empty", "small", "several buffers"])
    def test_bytes_come_back_as_they_were_put(self, store: ObjectStore, data: bytes) -> None:
        store.put_bytes(KEY, data)

        assert store.get_bytes(KEY) == data

    @pytest.mark.parametrize("data", [b"", b"x", SEVERAL_BUFFERS], ids=["empty", "small", "several buffers"])
    def test_a_file_comes_back_as_it_was_put(
        self, store: ObjectStore, source: Callable[[bytes], Path], tmp_path: Path, data: bytes
    ) -> None:
        store.put_file(KEY, source(data))
        store.download(KEY, tmp_path / "copy")

        assert (tmp_path / "copy").read_bytes() == data

    def test_size_and_checksum_are_known_from_the_putting_on(
        self, store: ObjectStore, source: Callable[[bytes], Path], tmp_path: Path
    ) -> None:
        of_bytes = ObjectInfo("bytes", 5, digest(b"12345"))
        of_file = ObjectInfo("file", len(SEVERAL_BUFFERS), digest(SEVERAL_BUFFERS))

        assert store.put_bytes("bytes", b"12345") == of_bytes
        assert store.put_file("file", source(SEVERAL_BUFFERS)) == of_file
        assert store.stat("bytes") == of_bytes
        assert store.stat("file") == of_file
        listed = list(store.list(""))
        assert [as_listed(info, found) for info, found in zip((of_bytes, of_file), listed, strict=True)] == listed
        assert store.download("file", tmp_path / "copy") == of_file

    def test_changing_the_source_later_does_not_change_the_object(
        self, store: ObjectStore, source: Callable[[bytes], Path]
    ) -> None:
        path = source(b"before")
        store.put_file(KEY, path)

        path.write_bytes(b"after!")

        assert store.get_bytes(KEY) == b"before"

    def test_putting_leaves_the_source_as_it_is(self, store: ObjectStore, source: Callable[[bytes], Path]) -> None:
        path = source(b"data")
        mode = path.stat().st_mode

        store.put_file(KEY, path)

        assert path.read_bytes() == b"data"
        assert path.stat().st_mode == mode

    @pytest.mark.parametrize("data", [b"other", b"first"], ids=["other content", "same content"])
    def test_an_object_is_never_overwritten(
        self, store: ObjectStore, source: Callable[[bytes], Path], data: bytes
    ) -> None:
        first = store.put_bytes(KEY, b"first")

        with pytest.raises(ObjectExistsError, match=KEY):
            store.put_bytes(KEY, data)
        with pytest.raises(ObjectExistsError, match=KEY):
            store.put_file(KEY, source(data))

        assert store.get_bytes(KEY) == b"first"
        assert store.stat(KEY) == first

    def test_of_concurrent_puts_of_one_key_exactly_one_wins(self, store: ObjectStore) -> None:
        contents = [bytes([number]) * 100_000 for number in range(8)]
        start = threading.Barrier(len(contents))
        winners: list[bytes] = []
        others: list[Exception] = []

        def put(data: bytes) -> None:
            start.wait()
            try:
                store.put_bytes(KEY, data)
            except Exception as error:  # noqa: BLE001  # the test looks at what was raised
                others.append(error)
            else:
                winners.append(data)

        threads = [threading.Thread(target=put, args=(data,)) for data in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(winners) == 1
        assert [type(error) for error in others] == [ObjectExistsError] * 7
        assert store.get_bytes(KEY) == winners[0]
        assert store.stat(KEY) == ObjectInfo(KEY, 100_000, digest(winners[0]))

    def test_what_was_read_is_replaced(self, store: ObjectStore) -> None:
        store.put_bytes(KEY, b"first")

        read = store.read_versioned(KEY, 5)
        replaced = store.replace(KEY, b"second", read.version)

        assert read.data == b"first"
        assert replaced == store.stat(KEY) == ObjectInfo(KEY, 6, digest(b"second"))
        assert store.get_bytes(KEY) == b"second"
        assert keys_of(store) == [KEY]
        store.replace(KEY, b"", store.read_versioned(KEY, 6).version)
        assert store.get_bytes(KEY) == b""

    def test_what_was_replaced_since_it_was_read_is_not_replaced(self, store: ObjectStore) -> None:
        store.put_bytes(KEY, b"first")
        read = store.read_versioned(KEY, 100)
        second = store.replace(KEY, b"second", read.version)

        with pytest.raises(ObjectReplacedError, match=KEY):
            store.replace(KEY, b"third", read.version)

        assert store.get_bytes(KEY) == b"second"
        assert store.stat(KEY) == second

    def test_what_is_not_there_is_neither_read_nor_replaced(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectMissingError, match=KEY):
            store.read_versioned(KEY, 100)
        store.put_bytes(KEY, b"first")
        version = store.read_versioned(KEY, 100).version
        store.delete(KEY)

        with pytest.raises(ObjectMissingError, match=KEY):
            store.replace(KEY, b"second", version)

        assert keys_of(store) == []

    def test_no_more_is_read_than_may_be(self, store: ObjectStore) -> None:
        store.put_bytes(KEY, SEVERAL_BUFFERS)

        with pytest.raises(OversizedObjectError):
            store.read_versioned(KEY, len(SEVERAL_BUFFERS) - 1)

        assert store.read_versioned(KEY, len(SEVERAL_BUFFERS)).data == SEVERAL_BUFFERS

    def test_of_concurrent_replacements_of_one_object_exactly_one_wins(self, store: ObjectStore) -> None:
        store.put_bytes(KEY, b"first")
        version = store.read_versioned(KEY, 100).version
        contents = [bytes([number]) * 1_000 for number in range(8)]
        start = threading.Barrier(len(contents))
        winners: list[bytes] = []
        others: list[Exception] = []

        def replace(data: bytes) -> None:
            start.wait()
            try:
                store.replace(KEY, data, version)
            except Exception as error:  # noqa: BLE001  # the test looks at what was raised
                others.append(error)
            else:
                winners.append(data)

        threads = [threading.Thread(target=replace, args=(data,)) for data in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(winners) == 1
        assert [type(error) for error in others] == [ObjectReplacedError] * 7
        assert store.get_bytes(KEY) == winners[0]
        assert store.stat(KEY) == ObjectInfo(KEY, 1_000, digest(winners[0]))

    def test_a_source_that_cannot_be_read_leaves_nothing_behind(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(ObjectStoreError, match="absent"):
            store.put_file(KEY, tmp_path / "absent")
        with pytest.raises(ObjectStoreError, match=KEY):
            store.put_file(KEY, tmp_path)

        assert keys_of(store) == []

    def test_reading_a_key_without_an_object_names_the_key_and_the_store(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        kept = tmp_path / "kept"
        kept.write_bytes(b"as it was")

        for read in (store.get_bytes, store.open, lambda key: store.download(key, kept)):
            with pytest.raises(ObjectMissingError) as caught:
                read(KEY)
            assert KEY in str(caught.value)
            assert store.uri in str(caught.value)

        assert store.stat(KEY) is None
        assert kept.read_bytes() == b"as it was"
        assert list(tmp_path.glob(".kept*")) == []

    def test_the_beginning_of_a_key_is_not_an_object(self, store: ObjectStore) -> None:
        store.put_bytes("a/b/c", b"data")

        assert store.stat("a/b") is None
        assert store.stat("a/b/c/d") is None
        for key in ("a/b", "a/b/c/d"):
            with pytest.raises(ObjectMissingError):
                store.get_bytes(key)
            with pytest.raises(ObjectMissingError):
                store.open(key)
            store.delete(key)
        assert store.get_bytes("a/b/c") == b"data"

    @pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
    def test_a_key_beside_its_continuation_is_stored_or_refused_and_nothing_is_lost(
        self, store: ObjectStore, first: str, second: str
    ) -> None:
        store.put_bytes(first, b"first")
        refusal: ObjectStoreError | None = None

        try:
            store.put_bytes(second, b"second")
        except ObjectStoreError as error:
            refusal = error

        if refusal is None:
            assert store.get_bytes(second) == b"second"
            assert keys_of(store) == sorted([first, second])
        else:
            assert not isinstance(refusal, (ObjectExistsError, InvalidKeyError))
            assert store.stat(second) is None
            assert keys_of(store) == [first]
        assert store.get_bytes(first) == b"first"

    @pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
    def test_a_deleted_key_leaves_room_for_its_continuation(self, store: ObjectStore, first: str, second: str) -> None:
        store.put_bytes(first, b"first")
        store.delete(first)

        store.put_bytes(second, b"second")

        assert keys_of(store) == [second]

    def test_a_download_replaces_the_file(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put_bytes(KEY, b"new")
        path = tmp_path / "copy"
        path.write_bytes(b"older and longer")

        store.download(KEY, path)

        assert path.read_bytes() == b"new"
        assert path.stat().st_mode & 0o777 == 0o600

    def test_a_download_that_fails_says_where_and_leaves_nothing_behind(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        store.put_bytes(KEY, b"data")
        directory = tmp_path / "directory"
        directory.mkdir()

        for path in (tmp_path / "absent" / "copy", directory):
            with pytest.raises(ObjectStoreError) as caught:
                store.download(KEY, path)
            assert not isinstance(caught.value, ObjectMissingError)
            assert str(path) in str(caught.value)
            assert KEY in str(caught.value)

        assert list(tmp_path.rglob("*copy*")) == []
        assert list(tmp_path.glob(".directory*")) == []

    def test_an_opened_object_is_seekable(self, store: ObjectStore) -> None:
        store.put_bytes(KEY, SEVERAL_BUFFERS)

        with store.open(KEY) as file:
            assert file.seekable()
            assert file.seek(-4, 2) == len(SEVERAL_BUFFERS) - 4
            assert file.read() == SEVERAL_BUFFERS[-4:]
            assert file.read() == b""
            assert file.seek(1_000_001) == 1_000_001
            assert file.read(10) == SEVERAL_BUFFERS[1_000_001:1_000_011]
            assert file.tell() == 1_000_011
            file.seek(0)
            assert file.read() == SEVERAL_BUFFERS

    @pytest.mark.parametrize("key", REMARKABLE_KEYS)
    def test_every_valid_key_can_be_used(self, store: ObjectStore, tmp_path: Path, key: str) -> None:
        if key not in self.remarkable_keys:
            pytest.skip("the service behind this adapter does not take it")
        info = store.put_bytes(key, b"data")

        assert info.key == key
        assert store.get_bytes(key) == b"data"
        assert store.stat(key) == info
        assert [as_listed(info, found) for found in store.list("")] == list(store.list(""))
        assert [found.key for found in store.list(key)] == [key]
        assert store.download(key, tmp_path / "copy") == info
        assert store.locate(key).startswith(f"{store.uri}/")
        store.delete(key)
        assert store.stat(key) is None

    def test_keys_that_look_alike_are_different_objects(self, store: ObjectStore) -> None:
        keys = ["\u00e9", "e\u0301", "%C3%A9", "a b", "a+b", "a%20b"]
        for key in keys:
            store.put_bytes(key, key.encode())

        assert {key: store.get_bytes(key) for key in keys} == {key: key.encode() for key in keys}
        assert len({store.locate(key) for key in keys}) == len(keys)

    @pytest.mark.parametrize("key", INVALID_KEYS.values(), ids=INVALID_KEYS)
    def test_an_invalid_key_is_refused_by_every_method(
        self, store: ObjectStore, source: Callable[[bytes], Path], tmp_path: Path, key: str
    ) -> None:
        path = source(b"data")
        methods: list[Callable[[], object]] = [
            lambda: store.put_file(key, path),
            lambda: store.put_bytes(key, b"data"),
            lambda: store.replace(key, b"data", "0"),
            lambda: store.read_versioned(key, 1),
            lambda: store.get_bytes(key),
            lambda: store.download(key, tmp_path / "copy"),
            lambda: store.open(key),
            lambda: store.stat(key),
            lambda: store.delete(key),
            lambda: store.set_hold(key, held=True),
            lambda: store.has_hold(key),
            lambda: store.locate(key),
        ]

        for method in methods:
            with pytest.raises(InvalidKeyError):
                method()

    @pytest.mark.parametrize("prefix", ["/", "/a", "a//", "../", "a/./b", "a\nb", "a\\b", ".object-store/", "\ud800"])
    def test_a_prefix_with_which_no_key_can_begin_is_refused(self, store: ObjectStore, prefix: str) -> None:
        with pytest.raises(InvalidKeyError):
            list(store.list(prefix))
        with pytest.raises(InvalidKeyError):
            list(store.list("", start_after=prefix))

    def test_an_empty_store_lists_nothing(self, store: ObjectStore) -> None:
        assert keys_of(store) == []
        assert keys_of(store, "a/b", start_after="a/b/c") == []

    def test_keys_are_listed_in_the_order_of_their_bytes(self, store: ObjectStore) -> None:
        keys = ["a-b", "a.b", "a/b", "a/b.c", "a/c/d", "a0", "ab/c", "z", "\u007a\u0301", "\uffe0", "\U0001f0a1"]
        for key in reversed(keys):
            store.put_bytes(key, b"")

        found = self.keys_or_refusal(store)

        assert found is None or found == in_byte_order(set(keys))

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("a", ["a/b", "a/c/d", "ab", "ab.c"]),
            ("a/", ["a/b", "a/c/d"]),
            ("a/c", ["a/c/d"]),
            ("a/c/d", ["a/c/d"]),
            ("a/c/d/", []),
            ("ab", ["ab", "ab.c"]),
            ("ab.", ["ab.c"]),
            ("b", ["b/x"]),
            ("c", []),
            ("c/d/e", []),
        ],
    )
    def test_a_prefix_may_end_anywhere(self, store: ObjectStore, prefix: str, expected: list[str]) -> None:
        for key in ("a/b", "a/c/d", "ab", "ab.c", "b/x"):
            store.put_bytes(key, b"")

        assert keys_of(store, prefix) == expected

    @pytest.mark.parametrize(
        ("start_after", "expected"),
        [
            ("", ["a/b", "a/c/d", "ab", "b/x"]),
            ("a", ["a/b", "a/c/d", "ab", "b/x"]),
            ("a/", ["a/b", "a/c/d", "ab", "b/x"]),
            ("a/b", ["a/c/d", "ab", "b/x"]),
            ("a/bb", ["a/c/d", "ab", "b/x"]),
            ("a/c/d", ["ab", "b/x"]),
            ("a0", ["ab", "b/x"]),
            ("ab", ["b/x"]),
            ("b/x", []),
            ("c", []),
        ],
    )
    def test_a_listing_goes_on_after_any_string(
        self, store: ObjectStore, start_after: str, expected: list[str]
    ) -> None:
        for key in ("a/b", "a/c/d", "ab", "b/x"):
            store.put_bytes(key, b"")

        assert keys_of(store, start_after=start_after) == expected

    _runs = itertools.count()

    # The store is shared by the examples, which keep apart by a segment of their own; adapters inherit the test.
    @settings(
        max_examples=25,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(keys=KEY_SETS, prefix=key_beginnings(), start_after=st.none() | key_beginnings())
    def test_any_listing_is_the_sorted_selection(
        self, store: ObjectStore, keys: set[str], prefix: str, start_after: str | None
    ) -> None:
        run = f"run-{next(self._runs)}/"
        for key in keys:
            store.put_bytes(run + key, key.encode())

        found = self.keys_or_refusal(store, run + prefix, None if start_after is None else run + start_after)

        assert found is None or found == [
            run + key
            for key in in_byte_order(keys)
            if key.startswith(prefix) and key.encode() > (start_after or "").encode()
        ]

    def test_deleting_is_idempotent(self, store: ObjectStore) -> None:
        store.delete(KEY)
        store.put_bytes(KEY, b"data")

        store.delete(KEY)
        store.delete(KEY)

        assert store.stat(KEY) is None
        assert keys_of(store) == []
        with pytest.raises(ObjectMissingError):
            store.get_bytes(KEY)

    def test_deleting_touches_no_other_object(self, store: ObjectStore) -> None:
        for key in ("a/b", "a/bc", "a/b.c", "d"):
            store.put_bytes(key, key.encode())

        store.delete("a/b")

        assert keys_of(store) == ["a/b.c", "a/bc", "d"]
        assert store.get_bytes("a/bc") == b"a/bc"

    def test_a_deleted_key_can_be_put_again(self, store: ObjectStore) -> None:
        store.put_bytes(KEY, b"first")
        store.delete(KEY)

        store.put_bytes(KEY, b"second")

        assert store.get_bytes(KEY) == b"second"
        assert store.stat(KEY) == ObjectInfo(KEY, 6, digest(b"second"))


class WithoutHoldsContract:
    """For a store that keeps nothing by order: it says so, and takes no order."""

    def test_it_knows_no_holds(self, store: ObjectStore) -> None:
        store.put_bytes(KEY, b"data")

        assert store.has_hold(KEY) is None
        for held in (True, False):
            with pytest.raises(UnsupportedByStoreError, match=KEY):
                store.set_hold(KEY, held=held)
        store.delete(KEY)


class HoldContract:
    """For an adapter whose service keeps objects by order; the fixture `store` locks nothing, or nothing any more.

    The fixture `bare_delete` deletes a version of a key by the service's own client, and raises where it is refused.
    """

    def test_a_held_object_goes_when_it_is_let_go_of_and_not_before(
        self, store: ObjectStore, bare_delete: Callable[[ObjectInfo], object]
    ) -> None:
        info = store.put_bytes(KEY, b"data")
        assert store.has_hold(KEY) is False

        for _ in range(2):
            store.set_hold(KEY, held=True)
        assert store.has_hold(KEY) is True
        with pytest.raises(RefusedByStoreError, match=KEY):
            store.delete(KEY)
        with pytest.raises(Exception, match=r"AccessDenied|retention|hold"):
            bare_delete(info)
        assert store.get_bytes(KEY) == b"data"

        for _ in range(2):
            store.set_hold(KEY, held=False)
        assert store.has_hold(KEY) is False
        store.delete(KEY)
        assert store.stat(KEY) is None

    def test_other_objects_are_not_held(self, store: ObjectStore) -> None:
        store.put_bytes(KEY, b"data")
        store.put_bytes(f"{KEY}.2", b"data")
        store.set_hold(KEY, held=True)

        assert store.has_hold(f"{KEY}.2") is False

        store.set_hold(KEY, held=False)

    def test_what_is_not_there_is_not_free_of_holds(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectMissingError, match="absent"):
            store.has_hold("absent")
        for held in (True, False):
            with pytest.raises(ObjectMissingError, match="absent"):
                store.set_hold("absent", held=held)

    def test_the_known_version_is_held_whatever_lies_over_it(
        self, store: ObjectStore, put_over: Callable[[str], object]
    ) -> None:
        version = store.put_bytes(KEY, b"data").version
        assert version is not None
        put_over(KEY)
        ours = store.at_versions({KEY: version})

        ours.set_hold(KEY, held=True)

        assert (ours.has_hold(KEY), store.has_hold(KEY)) == (True, False)
        ours.set_hold(KEY, held=False)
        assert ours.has_hold(KEY) is False
