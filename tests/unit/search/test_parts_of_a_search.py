"""Times, prices and the private directory of a search."""

from __future__ import annotations

import os
import stat
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from compliance_pipelines.archive.errors import StagingError
from compliance_pipelines.object_store.ranged import FIRST_RANGE
from compliance_pipelines.search.errors import SearchError
from compliance_pipelines.search.folder import new_file, private_folder, remove_abandoned, require_room
from compliance_pipelines.search.output import as_text, write_csv
from compliance_pipelines.search.output import new_file as new_result
from compliance_pipelines.search.period import Period
from compliance_pipelines.search.prices import CHUNK_BYTES, Prices, requests_for
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

DAY = date(2026, 1, 31)


def test_a_period_is_of_whole_utc_days_or_of_times_in_any_zone() -> None:
    whole = Period.of(DAY, DAY)
    assert (whole.start, whole.end) == (datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    assert (whole.first_day, whole.last_day, whole.part_of(DAY)) == (DAY, DAY, None)
    east = timezone(timedelta(hours=5, minutes=30))
    some = Period.of(datetime(2026, 1, 31, 3, tzinfo=east), datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert (some.first_day, some.last_day) == (date(2026, 1, 30), DAY)
    first = some.part_of(date(2026, 1, 30))
    assert first is not None
    assert (first.start, first.end) == (datetime(2026, 1, 30, 21, 30, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC))
    last = some.part_of(DAY)
    assert last is not None
    assert last.end == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert Period.of(None, None).to_json() == {"from": None, "to": None}
    assert Period.of(None, datetime(2026, 1, 31, tzinfo=UTC)).last_day == date(2026, 1, 30)
    with pytest.raises(SearchError, match="there is no time between the two"):
        Period.of(DAY, DAY - timedelta(days=1))
    with pytest.raises(SearchError):
        Period.of(datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC))


def test_a_price_is_the_providers_or_that_of_the_settings() -> None:
    assert requests_for(1, encrypted=False) == 2
    assert requests_for(FIRST_RANGE, encrypted=True) == 3
    assert requests_for(FIRST_RANGE + 1, encrypted=True) == 4
    assert requests_for(FIRST_RANGE + 2 * CHUNK_BYTES, encrypted=True) == 5
    assert requests_for(FIRST_RANGE + 2 * CHUNK_BYTES + 1, encrypted=True) == 6
    listed = Prices.of(Settings(_env_file=None, audit_cold_storage_provider="s3"))
    price = listed.of_reading(1_000, 2**30)
    assert price.requests == pytest.approx(0.0004)
    assert price.transfer == pytest.approx(0.09)
    own = Settings(
        _env_file=None,
        audit_cold_storage_provider="gcs",
        audit_search_request_price=1.0,
        audit_search_transfer_price=0.0,
    )
    assert Prices.of(own).of_reading(500, 2**40).total == pytest.approx(0.5)
    assert Prices.of(Settings(_env_file=None)).of_reading(500, 2**40).total == 0


def test_the_directory_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    def interrupted() -> None:
        with private_folder(tmp_path) as folder:
            path = new_file(folder, "a.parquet")
            assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IRWXU
            assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
            with pytest.raises(FileExistsError):
                new_file(folder, "a.parquet")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(tmp_path: Path) -> None:
    left = tmp_path / "search-left"
    left.mkdir()
    (left / "0.parquet").write_bytes(b"x")
    with private_folder(tmp_path) as used:
        assert not left.exists()
        assert remove_abandoned(tmp_path) == 0
        assert used.exists()


def test_without_room_on_the_disk_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_room(tmp_path, 1)
    usage = os.statvfs(tmp_path)
    with pytest.raises(StagingError, match="search a shorter time"):
        require_room(tmp_path, usage.f_bavail * usage.f_frsize)


def test_a_result_gets_its_name_when_it_is_whole_and_takes_nobodys(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with new_result(target) as (file, _):
        file.write(b"half")
    assert list(tmp_path.iterdir()) == []
    with new_result(target) as (file, publish):
        file.write(b"whole")
        publish()
    assert target.read_bytes() == b"whole"
    with pytest.raises(SearchError, match="is there already"), new_result(target):
        pass
    other = tmp_path / "other"
    with new_result(other) as (_, publish):
        other.write_bytes(b"somebody was faster")
        with pytest.raises(SearchError, match="is there already"):
            publish()
    assert other.read_bytes() == b"somebody was faster"


def test_values_are_written_as_people_read_them() -> None:
    told: list[str] = []
    batch = pa.record_batch(
        [
            pa.array([datetime(2026, 1, 31, 12, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            pa.array(['quoted "text", and\na line', None]),
            pa.array([[1, 2], None]),
        ],
        names=["at", "text", "list"],
    )
    write_csv(batch.schema, [batch], told.append)
    assert "".join(told) == ('at,text,list\n2026-01-31T12:00:00+00:00,"quoted ""text"", and\na line","[1, 2]"\n,,\n')
    assert as_text(b"\x00\xff") == "00ff"
