from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compliance_pipelines.object_store import local
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import (
    ObjectExistsError,
    ObjectInfo,
    ObjectMissingError,
    ObjectStoreError,
    StoreMissingError,
)
from tests.unit.object_store.contract import (
    KEY,
    SEVERAL_BUFFERS,
    ObjectStoreContract,
    WithoutHoldsContract,
    digest,
    keys_of,
)
from tests.unit.object_store.key_strategies import KEY_SETS, in_byte_order, key_beginnings
from tests.unit.object_store.writers import PROJECT, writer_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TestLocalObjectStore(ObjectStoreContract, WithoutHoldsContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalObjectStore:
        store = LocalObjectStore(tmp_path / "cold")
        store.create()
        return store


class TestTheDirectory:
    def test_an_object_is_a_file_at_its_key(self, store: LocalObjectStore, root: Path) -> None:
        store.put_bytes("a/b", b"data")

        assert (root / "a" / "b").read_bytes() == b"data"
        assert store.uri == root.as_uri()
        assert store.locate("a/b") == (root / "a" / "b").as_uri()

    def test_a_locale_does_not_change_where_an_object_is(self, store: LocalObjectStore, root: Path) -> None:
        ascii_locale = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        run = subprocess.run(
            writer_command("put_escaped_key", root, r"\xe9/\U0001f0a1"),
            cwd=PROJECT,
            env=ascii_locale,
            capture_output=True,
            text=True,
            check=False,
        )

        assert run.returncode == 0, run.stderr
        assert run.stdout.split(maxsplit=1)[1] == "['\\xe9/\\U0001f0a1']\n"
        assert store.get_bytes("é/🂡") == b"data"
        assert Path(os.fsdecode(os.fsencode(root) + b"/\xc3\xa9/\xf0\x9f\x82\xa1")).read_bytes() == b"data"

    def test_looking_writes_nothing(self, store: LocalObjectStore, root: Path) -> None:
        assert store.stat(KEY) is None
        assert keys_of(store) == []
        store.delete(KEY)

        assert list(root.iterdir()) == []

    @pytest.mark.parametrize(
        "ask",
        [
            lambda store, _source: store.put_bytes(KEY, b"data"),
            lambda store, source: store.put_file(KEY, source),
            lambda store, _source: store.get_bytes(KEY),
            lambda store, source: store.download(KEY, source),
            lambda store, _source: store.open(KEY),
            lambda store, _source: store.stat(KEY),
            lambda store, _source: list(store.list("")),
            lambda store, _source: store.delete(KEY),
            lambda store, _source: store.now(),
        ],
        ids=["put_bytes", "put_file", "get_bytes", "download", "open", "stat", "list", "delete", "now"],
    )
    @pytest.mark.parametrize("state", ["never made", "unmounted", "replaced by a file"])
    def test_a_store_that_is_not_there_is_an_error_and_never_an_empty_one(
        self, tmp_path: Path, source: Path, ask: Callable[[LocalObjectStore, Path], object], state: str
    ) -> None:
        root = tmp_path / "mnt" / "cold"
        store = LocalObjectStore(root)
        if state != "never made":
            store.create()
            root.rmdir()
        if state == "replaced by a file":
            root.touch()

        with pytest.raises(StoreMissingError, match=r"AUDIT_COLD_STORAGE_PATH .*`compliance store init`"):
            ask(store, source)

        assert not root.is_dir()

    def test_a_store_is_made_with_its_parents_and_making_it_again_changes_nothing(self, tmp_path: Path) -> None:
        store = LocalObjectStore(tmp_path / "a" / "b")
        store.create()
        store.put_bytes(KEY, b"data")
        store.create()

        assert store.get_bytes(KEY) == b"data"

    def test_the_time_is_the_file_systems_and_leaves_nothing(self, store: LocalObjectStore, root: Path) -> None:
        before = datetime.now(UTC)
        found = store.now()

        # A file system may keep its time in coarser steps than the machine.
        assert before - timedelta(seconds=2) < found < datetime.now(UTC) + timedelta(seconds=2)
        assert keys_of(store) == []
        assert list((root / ".object-store" / "staging").iterdir()) == []

    def test_a_second_opening_finds_what_the_first_one_put(self, store: LocalObjectStore, root: Path) -> None:
        info = store.put_bytes(KEY, b"data")

        again = LocalObjectStore(root)

        assert list(again.list("")) == [info]
        assert again.get_bytes(KEY) == b"data"

    def test_a_relative_root_stays_where_it_was_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        store = LocalObjectStore(Path("cold"))
        monkeypatch.chdir("/")
        store.create()

        store.put_bytes(KEY, b"data")

        assert (tmp_path / "cold" / KEY).exists()

    def test_a_root_that_is_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(ObjectStoreError, match="is not a directory"):
            LocalObjectStore(tmp_path / "file")

    def test_a_root_below_a_file_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(ObjectStoreError, match="cannot make the directory of the cold store"):
            LocalObjectStore(tmp_path / "file" / "cold").create()

    def test_deleting_removes_the_directories_that_become_empty(self, store: LocalObjectStore, root: Path) -> None:
        store.put_bytes("a/b/c/d", b"data")
        store.put_bytes("a/x", b"data")

        store.delete("a/b/c/d")
        assert not (root / "a" / "b").exists()

        store.delete("a/x")
        assert [path.name for path in root.iterdir()] == [".object-store"]


class TestPermissions:
    def test_an_object_is_read_only_whatever_the_umask(self, store: LocalObjectStore, root: Path, source: Path) -> None:
        before = os.umask(0)
        try:
            store.put_bytes("bytes", b"data")
        finally:
            os.umask(0o077)
        try:
            store.put_file("file", source)
        finally:
            os.umask(before)

        assert (root / "bytes").stat().st_mode & 0o7777 == 0o444
        assert (root / "file").stat().st_mode & 0o7777 == 0o444

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_a_directory_without_the_right_to_write_is_an_error_that_says_so(
        self, store: LocalObjectStore, root: Path
    ) -> None:
        root.mkdir(mode=0o500)

        with pytest.raises(ObjectStoreError, match=r"Permission denied.*give the user"):
            store.put_bytes(KEY, b"data")

    def test_what_cannot_be_looked_at_is_an_error_and_not_absence(self, tmp_path: Path) -> None:
        longest_path = 4095
        root = f"{tmp_path}/{'/'.join(['y' * 100] * 50)}"[: longest_path - 10] + "y"
        store = LocalObjectStore(Path(root))
        store.create()

        with pytest.raises(ObjectStoreError, match="File name too long"):
            store.stat(KEY)
        with pytest.raises(ObjectStoreError, match="File name too long"):
            keys_of(store, f"{'x' * 100}/")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_a_directory_that_cannot_be_read_stops_the_listing(self, store: LocalObjectStore, root: Path) -> None:
        store.put_bytes("a/b", b"data")
        (root / "a").chmod(0)
        try:
            with pytest.raises(ObjectStoreError, match="Permission denied"):
                keys_of(store)
            with pytest.raises(ObjectStoreError, match="Permission denied"):
                store.stat("a/b")
        finally:
            (root / "a").chmod(0o700)


class TestChecksums:
    def test_a_plain_copy_keeps_them(self, store: LocalObjectStore, root: Path, tmp_path: Path) -> None:
        info = store.put_bytes(KEY, b"data")

        subprocess.run(["cp", "-r", root, tmp_path / "copy"], check=True)

        assert LocalObjectStore(tmp_path / "copy").stat(KEY) == info

    def test_a_copy_of_the_objects_alone_has_none(self, store: LocalObjectStore, root: Path, tmp_path: Path) -> None:
        store.put_bytes(KEY, b"data")
        shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns(".object-store"))
        copy = LocalObjectStore(tmp_path / "copy")

        assert copy.stat(KEY) == ObjectInfo(KEY, 4, None)
        assert list(copy.list("")) == [ObjectInfo(KEY, 4, None)]
        assert copy.get_bytes(KEY) == b"data"
        assert copy.download(KEY, tmp_path / "file") == ObjectInfo(KEY, 4, None)

    @pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
    def test_sha256sum_checks_a_copy_without_this_code(
        self, store: LocalObjectStore, root: Path, tmp_path: Path
    ) -> None:
        for key in ("a/with space", "a/é", KEY):
            store.put_bytes(key, key.encode())
        shutil.copytree(root, tmp_path / "copy")

        def check() -> int:
            command = ["sh", "-c", "cat .object-store/checksums/*/* | sha256sum --check --quiet"]
            return subprocess.run(command, cwd=tmp_path / "copy", check=False, capture_output=True).returncode

        assert check() == 0
        altered = tmp_path / "copy" / "a" / "é"
        altered.chmod(0o600)
        altered.write_bytes(b"x")
        assert check() == 1

    @pytest.mark.parametrize(
        "damage",
        [b"", b"\xff\xfe", b"0" * 64, b"0" * 64 + b"  another/key\n", b"G" * 64 + b"  " + KEY.encode() + b"\n"],
        ids=["empty", "no text", "torn", "of another key", "no digest"],
    )
    def test_a_damaged_record_is_no_record(self, store: LocalObjectStore, root: Path, damage: bytes) -> None:
        store.put_bytes(KEY, b"data")
        (record,) = (root / ".object-store" / "checksums").glob("*/*")
        record.chmod(0o600)
        record.write_bytes(damage)

        assert store.stat(KEY) == ObjectInfo(KEY, 4, None)

    def test_the_record_is_of_the_writing_and_the_size_of_today(self, store: LocalObjectStore, root: Path) -> None:
        store.put_bytes(KEY, b"data")
        (root / KEY).chmod(0o600)
        (root / KEY).write_bytes(b"altered")

        assert store.stat(KEY) == ObjectInfo(KEY, 7, digest(b"data"))
        assert store.get_bytes(KEY) == b"altered"

    def test_a_deleted_object_leaves_no_record(self, store: LocalObjectStore, root: Path) -> None:
        store.put_bytes(KEY, b"data")
        store.delete(KEY)

        assert list((root / ".object-store" / "checksums").glob("*/*")) == []


class TestWhatIsNoObject:
    def test_links_pipes_and_names_that_are_no_keys_are_passed_over(
        self, store: LocalObjectStore, root: Path, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.mkdir()
        (secret / "file").write_bytes(b"not in the store")
        store.put_bytes("a/b", b"data")
        (root / "circle").symlink_to(root)
        (root / "way-out").symlink_to(secret)
        (root / "link").symlink_to(secret / "file")
        (root / "dangling").symlink_to("nowhere")
        (root / "self").symlink_to("self")
        os.mkfifo(root / "pipe")
        (root / "line\nfeed").write_bytes(b"")
        (root / "back\\slash").mkdir()
        (root / "back\\slash" / "file").write_bytes(b"")
        Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"")

        assert keys_of(store) == ["a/b"]
        assert keys_of(store, "way-out/") == []
        for key in ("circle/a/b", "way-out/file", "link", "dangling", "self", "self/x", "pipe", "a"):
            assert store.stat(key) is None
            with pytest.raises(ObjectMissingError):
                store.open(key)
            store.delete(key)
            with pytest.raises(ObjectStoreError, match="cannot be stored") as caught:
                store.put_bytes(key, b"data")
            assert not isinstance(caught.value, ObjectExistsError)
        assert (secret / "file").read_bytes() == b"not in the store"
        assert [path.name for path in secret.iterdir()] == ["file"]

    def test_directories_deeper_than_any_key_do_not_stop_the_listing(self, store: LocalObjectStore, root: Path) -> None:
        store.put_bytes("a/b", b"data")
        here = os.open(root, os.O_RDONLY)
        for _ in range(30):
            os.mkdir("x" * 250, dir_fd=here)
            deeper = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        os.close(here)

        assert keys_of(store) == ["a/b"]

    def test_the_reserved_directory_is_not_listed(self, store: LocalObjectStore, root: Path) -> None:
        store.put_bytes("a", b"data")
        (root / ".object-store" / "staging" / "abandoned").write_bytes(b"")

        assert keys_of(store) == ["a"]
        assert keys_of(store, ".") == []
        assert keys_of(store, ".object-store") == []


class TestListing:
    @settings(max_examples=300)
    @given(keys=KEY_SETS, prefix=key_beginnings(), start_after=st.none() | key_beginnings())
    @example(keys={"a.b", "a/b", "a-b", "a0"}, prefix="", start_after=None)
    @example(keys={"a/b/c", "a/b.c", "a.b/c"}, prefix="a", start_after="a/b.")
    @example(keys={"a/a/b", "a/a0"}, prefix="a/", start_after="a/a")
    def test_the_order_is_that_of_the_sorted_keys(self, keys: set[str], prefix: str, start_after: str | None) -> None:
        with tempfile.TemporaryDirectory() as directory:
            for key in keys:
                path = Path(directory, key)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()

            found = keys_of(LocalObjectStore(Path(directory)), prefix, start_after)

        assert found == [
            key for key in in_byte_order(keys) if key.startswith(prefix) and key.encode() > (start_after or "").encode()
        ]

    def test_directories_are_read_only_when_their_keys_are_due(
        self, store: LocalObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for key in ("a/1", "b/1", "c/1", "d/1"):
            store.put_bytes(key, b"")
        read: list[str] = []
        scandir = os.scandir

        def noted_scandir(path: bytes) -> Iterator[os.DirEntry[bytes]]:
            read.append(os.path.relpath(os.fsdecode(path), root))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", noted_scandir)

        listing = store.list("", start_after="b")
        assert read == []
        assert next(listing).key == "b/1"
        assert read == [".", "b"]
        assert [info.key for info in listing] == ["c/1", "d/1"]
        assert read == [".", "b", "c", "d"]

        read.clear()
        assert keys_of(store, "c/") == ["c/1"]
        assert read == ["c"]

    def test_an_object_that_is_deleted_meanwhile_is_passed_over(self, store: LocalObjectStore) -> None:
        for key in ("a", "b", "c/1", "d"):
            store.put_bytes(key, b"")

        listing = store.list("")
        assert next(listing).key == "a"
        store.delete("b")
        store.delete("c/1")

        assert [info.key for info in listing] == ["d"]


class TestPutting:
    def test_an_object_that_appears_while_its_place_is_looked_at_is_an_object(
        self, store: LocalObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks = count()

        def look(path: Path) -> os.stat_result | None:
            if path == root / "key" and next(looks) == 0:
                LocalObjectStore(root).put_bytes("key", b"of another process")
                return None
            return status(path)

        status = local._status
        monkeypatch.setattr(local, "_status", look)
        with pytest.raises(ObjectExistsError):
            store.put_bytes("key", b"data")

        assert store.get_bytes("key") == b"of another process"


class TestReading:
    def test_an_object_that_shrinks_while_it_is_read_is_an_error(
        self, store: LocalObjectStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "copy").write_bytes(b"as it was")
        reads: list[Callable[[str], object]] = [store.get_bytes, lambda key: store.download(key, tmp_path / "copy")]
        for number, read in enumerate(reads):
            key = str(number)
            store.put_bytes(key, SEVERAL_BUFFERS)
            (root / key).chmod(0o600)
            with monkeypatch.context() as patch:
                patch.setattr(os, "fstat", _shrinking_after_its_second_call(root / key))

                with pytest.raises(ObjectStoreError, match="changed meanwhile"):
                    read(key)

        assert (tmp_path / "copy").read_bytes() == b"as it was"

    def test_a_store_that_is_read_only_can_be_read(self, store: LocalObjectStore, root: Path, tmp_path: Path) -> None:
        info = store.put_bytes("a/b", b"data")
        directories = [path for path in (root, *root.rglob("*")) if path.is_dir()]
        for directory in directories:
            directory.chmod(0o555)
        try:
            copy = LocalObjectStore(root)
            assert list(copy.list("")) == [info]
            assert copy.get_bytes("a/b") == b"data"
            assert copy.download("a/b", tmp_path / "copy") == info
        finally:
            for directory in directories:
                directory.chmod(0o755)


def _shrinking_after_its_second_call(path: Path) -> Callable[[int], os.stat_result]:
    """`os.fstat`, which the store calls to learn the type and then the size, with an accident after that."""
    fstat = os.fstat
    calls = count(1)

    def fstat_then_shrink(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if next(calls) == 2:
            os.truncate(path, 1_000_000)
        return status

    return fstat_then_shrink
