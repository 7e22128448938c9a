"""Where data is, and when it was active, is read exactly or not at all."""

from __future__ import annotations

from datetime import date

import pytest

from compliance_pipelines.erasure.redis_scan import day_of_epoch, day_of_iso, location_of, open_redis, shown
from compliance_pipelines.settings import ConfigurationError, Settings


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://user:pass@word@host:6379/0", "redis://host:6379/0"),
        ("rediss://host/1?ssl_ca_certs=/x&password=secret", "rediss://host/1"),
        ("redis+sentinel://:secret@a:26379,b:26379/main/0", "redis+sentinel://a:26379,b:26379/main/0"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock"),
    ],
)
def test_a_location_has_no_credentials(url: str, location: str) -> None:
    assert location_of(url) == location


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (b"2026-03-05T23:59:59+00:00", date(2026, 3, 5)),
        ("2026-03-06T00:30:00+02:00", date(2026, 3, 5)),
        ("2026-03-05T12:00:00Z", date(2026, 3, 5)),
        ("2026-03-05T12:00:00", date(2026, 3, 5)),
        ("yesterday", None),
        (b"\xff", None),
        (None, None),
        (5, None),
    ],
)
def test_the_day_of_a_text(value: object, day: date | None) -> None:
    assert day_of_iso(value) == day


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (1_772_712_000_000_000, date(2026, 3, 5)),
        (1_772_712_000.25, date(2026, 3, 5)),
        (b"1772712000.25", date(2026, 3, 5)),
        (b"soon", None),
        (None, None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
        ("1772712000", None),
    ],
)
def test_the_day_of_a_number_of_seconds_or_microseconds(value: object, day: date | None) -> None:
    assert day_of_epoch(value) == day


def test_a_key_is_shown_whatever_its_bytes_are() -> None:
    assert shown(b"store:\xff") == "store:\\xff"


def test_a_url_that_cannot_be_used_is_named_by_its_own_setting() -> None:
    settings = Settings(_env_file=None)
    for url in ("http://host", "redis://example.com:6379/0"):
        with pytest.raises(ConfigurationError, match="GDPR_SESSION_REDIS_URL") as raised:
            open_redis("GDPR_SESSION_REDIS_URL", url, settings)
        assert "CHECKPOINT_REDIS_URL" not in str(raised.value)
