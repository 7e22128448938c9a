"""A file of any size becomes lines, whole and in order, without being held in memory."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from compliance_pipelines.audit_log.import_source import ImportFileError, open_source

if TYPE_CHECKING:
    from pathlib import Path

MOST = 10


def write(path: Path, content: bytes, *, zipped: bool = False) -> Path:
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


def lines_of(path: Path, most: int = MOST) -> list[tuple[int, bytes, bool]]:
    with open_source(path, max_line_bytes=most) as source:
        return [
            (source.line_number, line + b"".join(source.rest_of_line()), source.line_too_long)
            for line in source.lines()
        ]


@pytest.mark.parametrize("zipped", [False, True])
def test_lines_keep_their_ends_and_are_numbered_from_one(tmp_path: Path, zipped: bool) -> None:
    path = write(tmp_path / "events", b"one\n\r\ntwo\r\n\nthree", zipped=zipped)
    assert lines_of(path) == [
        (1, b"one\n", False),
        (2, b"\r\n", False),
        (3, b"two\r\n", False),
        (4, b"\n", False),
        (5, b"three", False),
    ]


def test_an_empty_file_has_no_line(tmp_path: Path) -> None:
    assert lines_of(write(tmp_path / "a", b"")) == []
    assert lines_of(write(tmp_path / "b", b"", zipped=True)) == []


def test_gzip_is_told_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    assert lines_of(write(tmp_path / "plain.gz", b"a\n")) == [(1, b"a\n", False)]
    assert lines_of(write(tmp_path / "zipped.txt", b"a\n", zipped=True)) == [(1, b"a\n", False)]


def test_files_that_were_zipped_and_joined_are_read_to_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "joined", gzip.compress(b"a\nb") + gzip.compress(b"c\n"))
    assert [line for _, line, _ in lines_of(path)] == [b"a\n", b"bc\n"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_bound_does_not_count_the_end_of_the_line(tmp_path: Path, end: bytes) -> None:
    path = write(tmp_path / "events", b"x" * MOST + end)
    assert lines_of(path) == [(1, b"x" * MOST + end, False)]
    path = write(tmp_path / "events", b"x" * (MOST + 1) + end)
    assert lines_of(path) == [(1, b"x" * (MOST + 1) + end, True)]


def test_what_is_left_of_a_long_line_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "events", b"a\n" + b"x" * 1000 + b"\nb\n")
    with open_source(path, max_line_bytes=MOST) as source:
        lines = list(source.lines())
    assert [line[:2] for line in lines] == [b"a\n", b"xx", b"b\n"]
    assert len(lines[1]) < 2 * MOST


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@example(content=b"x" * 12 + b"\n", zipped=False)
@example(content=b"x" * 10 + b"\r\r\n", zipped=False)
@example(content=b"x" * 10 + b"\r\ra", zipped=False)
@example(content=b"x" * 10 + b"\r", zipped=False)
@given(content=st.text("ab\n\r", max_size=80).map(str.encode), zipped=st.booleans())
def test_the_lines_are_the_file(tmp_path: Path, content: bytes, zipped: bool) -> None:
    lines = lines_of(write(tmp_path / "events", content, zipped=zipped))
    assert b"".join(line for _, line, _ in lines) == content
    assert [line for _, line, _ in lines] == io.BytesIO(content).readlines()
    assert [number for number, _, _ in lines] == list(range(1, len(lines) + 1))
    assert all(too_long == (len(line.removesuffix(b"\n").removesuffix(b"\r")) > MOST) for _, line, too_long in lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@example(content="", zipped=False)
@example(content="x" * 10, zipped=False)
@example(content="x" * 12 + "\n", zipped=False)
@example(content="x" * 9 + "\r\n", zipped=True)
@example(content="\ufeffa\n\ufeffb\n", zipped=False)
@given(content=st.text("ab\n\r\ufeff", max_size=40), zipped=st.booleans())
def test_a_mark_of_utf_8_at_the_start_changes_no_line(tmp_path: Path, content: str, zipped: bool) -> None:
    # What begins with a mark itself is set apart by a line, so that its mark is not taken for the file's.
    plain = f"\n{content}".encode() if content.startswith("\ufeff") else content.encode()
    marked = write(tmp_path / "marked", codecs.BOM_UTF8 + plain, zipped=zipped)
    assert lines_of(marked) == lines_of(write(tmp_path / "plain", plain, zipped=zipped))


def test_a_mark_that_does_not_stand_at_the_very_start_belongs_to_its_line(tmp_path: Path) -> None:
    mark = codecs.BOM_UTF8
    assert [line for _, line, _ in lines_of(write(tmp_path / "a", mark + mark + b"a\n"))] == [mark + b"a\n"]
    assert [line for _, line, _ in lines_of(write(tmp_path / "b", b"a\n" + mark + b"b\n"))] == [b"a\n", mark + b"b\n"]
    joined = write(tmp_path / "c", gzip.compress(mark + b"a\n") + gzip.compress(mark + b"b\n"))
    assert [line for _, line, _ in lines_of(joined)] == [b"a\n", mark + b"b\n"]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_the_mark_of_another_encoding_is_refused_by_its_name(tmp_path: Path, encoding: str, zipped: bool) -> None:
    path = write(tmp_path / "events", "\ufeff{}\n".encode(encoding), zipped=zipped)
    named = encoding[:6].upper()
    with pytest.raises(ImportFileError, match=rf"events is {named}: write it as UTF-8; nothing was imported"):
        lines_of(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_size_and_hash_are_those_of_the_file_as_it_is(tmp_path: Path, zipped: bool) -> None:
    path = write(tmp_path / "events", b"some line\n" * 1000, zipped=zipped)
    with open_source(path, max_line_bytes=MOST) as source:
        assert sum(1 for _ in source.lines()) == 1000
        assert source.size == source.bytes_read == path.stat().st_size
        assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_pipe_is_read_too_and_has_no_size(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(b"a\nb\n"),))
    writer.start()
    with open_source(path, max_line_bytes=MOST) as source:
        assert source.size is None
        assert list(source.lines()) == [b"a\n", b"b\n"]
    writer.join(10)


@pytest.mark.parametrize("cut", [1, 9, 200])
def test_a_gzip_file_that_ends_too_early_is_said_to(tmp_path: Path, cut: int) -> None:
    zipped = gzip.compress(os.urandom(600).hex().encode() + b"\n")
    path = write(tmp_path / "events.gz", zipped[:-cut])
    with pytest.raises(
        ImportFileError, match=r"events\.gz cannot be read beyond line \d: the gzip file ends too early"
    ):
        lines_of(path, 10_000)


def test_a_damaged_gzip_file_is_said_to_be(tmp_path: Path) -> None:
    zipped = bytearray(gzip.compress(b"a\n" * 10_000))
    zipped[len(zipped) // 2] ^= 0xFF
    with pytest.raises(ImportFileError, match=r"no sound gzip file: .*; nothing was imported"):
        lines_of(write(tmp_path / "a", bytes(zipped)))
    with pytest.raises(ImportFileError, match="no sound gzip file"):
        lines_of(write(tmp_path / "b", gzip.compress(b"a\n") + b"rubbish"))


def test_a_file_that_is_not_there_or_none_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match=r"missing cannot be opened: No such file or directory"):
        lines_of(tmp_path / "missing")
    with pytest.raises(ImportFileError, match=r"cannot be opened: Is a directory"):
        lines_of(tmp_path)
