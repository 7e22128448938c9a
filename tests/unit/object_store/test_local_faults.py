from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest

from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import (
    ObjectExistsError,
    ObjectInfo,
    ObjectStoreError,
)
from tests.unit.object_store.contract import KEY, SEVERAL_BUFFERS, digest, keys_of
from tests.unit.object_store.writers import PROJECT, run_writer, staging_files, writer_command


class TestKilled:
    def test_a_put_killed_before_any_operation_leaves_no_object_or_a_whole_one(
        self, tmp_path: Path, source: Path
    ) -> None:
        left_an_object = []
        run = run_writer("put_killed_everywhere", tmp_path / "stores", KEY, source)
        assert run.returncode == 0, run.stderr
        for number in range(1, int(run.stdout) + 1):
            root = tmp_path / "stores" / str(number)
            store = LocalObjectStore(root)

            found = list(store.list(""))
            left_an_object.append(bool(found))
            if found:
                assert found == [ObjectInfo(KEY, len(SEVERAL_BUFFERS), digest(SEVERAL_BUFFERS))]
                assert store.get_bytes(KEY) == SEVERAL_BUFFERS
                with pytest.raises(ObjectExistsError):
                    store.put_bytes(KEY, b"retry")
            else:
                assert store.put_bytes(KEY, b"retry") == store.stat(KEY)
            store.put_bytes("another", b"data")
            assert staging_files(root) == []

        assert True in left_an_object
        assert False in left_an_object
        assert left_an_object == sorted(left_an_object)

    def test_a_delete_killed_before_any_operation_leaves_the_object_whole_or_none(self, tmp_path: Path) -> None:
        left_an_object = []
        run = run_writer("delete_killed_everywhere", tmp_path / "stores", KEY, "data")
        assert run.returncode == 0, run.stderr
        for number in range(1, int(run.stdout) + 1):
            store = LocalObjectStore(tmp_path / "stores" / str(number))

            assert store.stat(KEY) in {ObjectInfo(KEY, 4, digest(b"data")), None}
            left_an_object.append(store.stat(KEY) is not None)
            store.delete(KEY)
            assert store.stat(KEY) is None
            assert store.put_bytes(KEY, b"other") == store.stat(KEY)

        assert True in left_an_object
        assert False in left_an_object

    def test_a_replacement_killed_before_any_operation_leaves_the_old_object_or_the_new_one(
        self, tmp_path: Path
    ) -> None:
        left = []
        run = run_writer("replace_killed_everywhere", tmp_path / "stores", KEY, "old", "newer")
        assert run.returncode == 0, run.stderr
        for number in range(1, int(run.stdout) + 1):
            root = tmp_path / "stores" / str(number)
            store = LocalObjectStore(root)

            read = store.read_versioned(KEY, 100)
            left.append(read.data)
            info = store.stat(KEY)
            assert info is not None
            assert info.sha256 in {digest(read.data), None}
            store.replace(KEY, b"newest", read.version)
            assert store.stat(KEY) == ObjectInfo(KEY, 6, digest(b"newest"))
            assert staging_files(root) == []

        assert left == sorted(left, reverse=True)
        assert set(left) == {b"old", b"newer"}

    def test_a_put_killed_in_the_middle_of_writing_leaves_no_object(
        self, store: LocalObjectStore, root: Path, source: Path
    ) -> None:
        killed = run_writer("put_until_the_limit_kills", root, KEY, source, 1_500_000)

        assert killed.returncode == -signal.SIGXFSZ, killed.stderr
        (staged,) = staging_files(root)
        assert staged.stat().st_size == 1_500_000
        assert store.stat(KEY) is None
        assert keys_of(store) == []
        store.put_file(KEY, source)
        assert store.get_bytes(KEY) == SEVERAL_BUFFERS
        assert staging_files(root) == []

    def test_a_put_that_is_under_way_keeps_its_staging_file(self, store: LocalObjectStore, root: Path) -> None:
        store.put_bytes("first", b"data")
        staging = root / ".object-store" / "staging"
        (staging / "abandoned").write_bytes(b"half")
        with (staging / "living").open("wb") as living:
            fcntl.flock(living, fcntl.LOCK_EX)

            store.put_bytes("second", b"data")

            assert staging_files(root) == [staging / "living"]
        store.put_bytes("third", b"data")
        assert staging_files(root) == []

    def test_directories_that_a_killed_put_left_empty_can_be_used(self, store: LocalObjectStore, root: Path) -> None:
        (root / KEY).parent.mkdir(parents=True)

        assert keys_of(store) == []
        store.put_bytes(KEY, b"data")
        assert keys_of(store) == [KEY]


class TestDiskFull:
    @pytest.mark.usefixtures("store")
    def test_a_write_that_fails_says_why_and_leaves_nothing_behind(self, root: Path, source: Path) -> None:
        limited = run_writer("put_with_limit", root, KEY, source, 1_500_000)

        assert limited.returncode == 0, limited.stderr
        assert KEY in limited.stdout
        assert root.as_uri() in limited.stdout
        assert "File too large" in limited.stdout
        assert staging_files(root) == []
        assert [path.name for path in root.iterdir()] == [".object-store"]

    def test_a_full_disk_is_named_and_later_puts_succeed(self, tmp_path: Path, source: Path) -> None:
        (tmp_path / "disk").mkdir()
        mount_and_run = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'
        on_small_disk = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount_and_run, "sh"]
        on_small_disk.append(str(tmp_path / "disk"))
        try:
            subprocess.run([*on_small_disk, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs user namespaces that may mount a tmpfs")

        full = subprocess.run(
            on_small_disk + writer_command("fill_small_disk", tmp_path / "disk", KEY, source),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

        assert full.returncode == 0, full.stderr
        error, after, later = full.stdout.splitlines()
        assert KEY in error
        assert "No space left on device" in error
        assert "the disk is full; free space there" in error
        assert after == "[] []"
        assert later == "['small']"


class TestProcesses:
    def test_of_processes_that_put_the_same_keys_exactly_one_wins_each(
        self, store: LocalObjectStore, root: Path
    ) -> None:
        keys = [f"a/{number:02}" for number in range(40)]
        contents = ["one", "two", "three"]
        processes = [
            subprocess.Popen(
                writer_command("race", root, content, *keys),
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for content in contents
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        won = {
            content: process.communicate(timeout=900)[0].split()
            for content, process in zip(contents, processes, strict=True)
        }

        assert [process.returncode for process in processes] == [0, 0, 0]
        assert sorted(key for part in won.values() for key in part) == keys
        for content, part in won.items():
            for key in part:
                assert store.get_bytes(key) == content.encode()
                assert store.stat(key) == ObjectInfo(key, len(content), digest(content.encode()))
        assert staging_files(root) == []

    def test_a_child_that_is_forked_during_a_put_does_not_keep_the_lock(
        self, store: LocalObjectStore, root: Path
    ) -> None:
        run = run_writer("fork_while_putting", root, "a")

        assert run.returncode == 0, run.stderr
        assert keys_of(store) == ["a", "a.2"]

    def test_a_writer_that_ignores_the_lock_is_not_overwritten(
        self, store: LocalObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link = os.link

        def overtaken_link(source: Path, target: Path) -> None:
            target.write_bytes(b"of somebody else")
            link(source, target)

        monkeypatch.setattr(os, "link", overtaken_link)

        with pytest.raises(ObjectExistsError):
            store.put_bytes(KEY, b"data")

        assert store.get_bytes(KEY) == b"of somebody else"
        assert store.stat(KEY) == ObjectInfo(KEY, 16, None)
        assert staging_files(root) == []


class TestDurability:
    @pytest.fixture
    def synced(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """The paths that were forced to disk, in that order."""
        paths: list[Path] = []
        fsync = os.fsync

        def noted_fsync(descriptor: int) -> None:
            paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        return paths

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
    def test_making_a_store_forces_its_directory_and_the_missing_ones_above_it_to_disk(
        self, tmp_path: Path, synced: list[Path]
    ) -> None:
        LocalObjectStore(tmp_path / "above" / "cold").create()

        assert synced == [tmp_path, tmp_path / "above"]

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
    def test_a_put_forces_data_directories_and_their_parents_to_disk(
        self, store: LocalObjectStore, root: Path, synced: list[Path]
    ) -> None:
        store.put_bytes("a/b/c", b"data")

        assert synced[-3:] == [root / "a" / "b", root / "a", root]
        assert [path.parent for path in synced].count(root / ".object-store" / "staging") == 2

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
    def test_an_object_that_exists_is_durable_before_it_is_reported(
        self, store: LocalObjectStore, root: Path, synced: list[Path]
    ) -> None:
        store.put_bytes("a/b", b"data")
        synced.clear()

        with pytest.raises(ObjectExistsError):
            store.put_bytes("a/b", b"data")

        assert synced == [root / "a", root]

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
    def test_a_deletion_is_forced_to_disk(self, store: LocalObjectStore, root: Path, synced: list[Path]) -> None:
        store.put_bytes("a/b", b"data")
        synced.clear()

        store.delete("a/b")

        assert synced == [root / "a", root]

    def test_a_put_that_could_not_be_made_durable_leaves_nothing_behind(
        self, store: LocalObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put_bytes("first", b"data")
        link = os.link
        fsync = os.fsync

        def link_and_break(source: Path, target: Path) -> None:
            link(source, target)
            monkeypatch.setattr(os, "fsync", broken_fsync)

        def broken_fsync(_descriptor: int) -> None:
            monkeypatch.setattr(os, "fsync", fsync)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "link", link_and_break)

        with pytest.raises(ObjectStoreError, match=f"{KEY}.*Input/output error"):
            store.put_bytes(KEY, b"data")

        assert keys_of(store) == ["first"]
        assert not (root / "audit-archives").exists()
        assert len(list((root / ".object-store" / "checksums").glob("*/*"))) == 1
        assert staging_files(root) == []
