"""Sample entries: the audit log of a made-up agent server, the same for the same day on every machine.

Here: what the entries look like and when they are delivered. Not here: appending them.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import TYPE_CHECKING, Final

from compliance_pipelines.audit_log.entry import AuditEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.audit_log.entry import JsonValue

DAYS: Final = 120
ENTRIES: Final = 50_000

_NAMESPACE: Final = uuid.UUID("6f1c9be4-93a5-5d2e-8f43-0c5f6f1f7a11")
_USERS: Final = 40
_LATE_SHARE: Final = 0.01
_MOST_DAYS_LATE: Final = 3
_SECONDS_PER_DAY: Final = 86_400
_OFFICE_HOURS_MEAN: Final = 13.5 * 3600
_OFFICE_HOURS_DEVIATION: Final = 3.5 * 3600
_MODELS: Final = ("large", "medium", "small")
_TOOLS: Final = ("search", "calculator", "calendar", "ticket_lookup", "code_interpreter")


@dataclass(frozen=True)
class _Kind:
    action: str
    resource_type: str
    weight: int
    results: tuple[str, ...]


_KINDS: Final = (
    _Kind("auth.login", "session", 6, ("success",) * 19 + ("failure",)),
    _Kind("auth.token_refresh", "session", 9, ("success",)),
    _Kind("authorization.check", "conversation", 14, ("success",) * 24 + ("denied",)),
    _Kind("conversation.create", "conversation", 8, ("success",)),
    _Kind("conversation.read", "conversation", 17, ("success",) * 49 + ("not_found",)),
    _Kind("message.send", "conversation", 20, ("success",) * 39 + ("error",)),
    _Kind("tool.invoke", "tool", 18, ("success",) * 17 + ("error", "timeout")),
    _Kind("memory.write", "memory", 5, ("success",)),
    _Kind("data.export", "user_account", 1, ("success",)),
    _Kind("consent.update", "user_account", 1, ("success",)),
    _Kind("profile.update", "user_account", 1, ("success",)),
)


def _entries_per_day() -> tuple[int, ...]:
    """Busy and quiet days, repeating every DAYS days, so that any DAYS days in a row hold ENTRIES entries."""
    random = Random("entries per day")  # noqa: S311 - sample data
    weights = [random.uniform(0.5, 1.5) for _ in range(DAYS)]
    reached, counts, running = 0, [], 0.0
    for weight in weights:
        running += weight
        upto = round(ENTRIES * running / sum(weights))
        counts.append(upto - reached)
        reached = upto
    return tuple(counts)


_COUNTS: Final = _entries_per_day()


@dataclass(frozen=True)
class Delivery:
    """The entries that the agent server delivers on one day: most of that day, some of up to three days before."""

    day: date
    on_time: tuple[AuditEntry, ...]
    late: tuple[AuditEntry, ...]


def _happened_at(day: date, random: Random) -> datetime:
    seconds = random.gauss(_OFFICE_HOURS_MEAN, _OFFICE_HOURS_DEVIATION) % _SECONDS_PER_DAY
    midnight = datetime.combine(day, time(), tzinfo=UTC)
    return midnight + timedelta(microseconds=int(seconds * 1_000_000))


def _resource_id(kind: _Kind, user: str, random: Random) -> str:
    if kind.resource_type == "tool":
        return random.choice(_TOOLS)
    if kind.resource_type == "user_account":
        return user
    return f"{kind.resource_type}-{random.getrandbits(40):010x}"


def _entry(day: date, number: int, random: Random) -> AuditEntry:
    kind = random.choices(_KINDS, weights=[kind.weight for kind in _KINDS])[0]
    user = f"user-{random.randrange(_USERS):03d}"
    metadata: dict[str, JsonValue] = {
        "request_id": f"{random.getrandbits(64):016x}",
        "client_ip": f"192.0.2.{random.randrange(1, 255)}",
        "latency_ms": random.randrange(3, 2_500),
        "agent": "support-assistant",
    }
    if kind.action == "message.send":
        metadata |= {
            "model": random.choice(_MODELS),
            "input_tokens": random.randrange(20, 4_000),
            "output_tokens": random.randrange(1, 1_200),
        }
    if kind.action == "tool.invoke":
        metadata |= {"attempt": random.randrange(1, 3), "arguments_sha256": f"{random.getrandbits(256):064x}"}
    return AuditEntry(
        log_entry_id=str(uuid.uuid5(_NAMESPACE, f"{day.isoformat()}/{number}")),
        timestamp=_happened_at(day, random),
        user_id=user,
        action=kind.action,
        resource_type=kind.resource_type,
        resource_id=_resource_id(kind, user, random),
        result=random.choice(kind.results),
        metadata=metadata,
    )


def entries_of_day(day: date) -> tuple[AuditEntry, ...]:
    """All entries that happened on a day, out of order as concurrent requests finish out of order."""
    seed = int.from_bytes(hashlib.sha256(day.isoformat().encode()).digest()[:8])
    random = Random(seed)  # noqa: S311 - sample data
    count = _COUNTS[day.toordinal() % DAYS]
    return tuple(_entry(day, number, random) for number in range(count))


def _days_late(entry: AuditEntry) -> int:
    """0 for most entries; the id decides, so that every run agrees."""
    drawn = uuid.UUID(entry.log_entry_id).int
    if drawn % 10_000 >= _LATE_SHARE * 10_000:
        return 0
    return 1 + drawn // 10_000 % _MOST_DAYS_LATE


def deliveries(last_day: date) -> Iterator[Delivery]:
    """DAYS days of deliveries up to `last_day`; what is late by then is delivered on the last day."""
    first_day = last_day - timedelta(days=DAYS - 1)
    waiting: dict[date, list[AuditEntry]] = {}
    for offset in range(DAYS):
        day = first_day + timedelta(days=offset)
        on_time: list[AuditEntry] = []
        for entry in entries_of_day(day):
            late = _days_late(entry)
            if late:
                waiting.setdefault(min(day + timedelta(days=late), last_day), []).append(entry)
            else:
                on_time.append(entry)
        yield Delivery(day=day, on_time=tuple(on_time), late=tuple(waiting.pop(day, ())))
