"""What Google Cloud Storage keeps and refuses, as its documents say: generations, preconditions, locks, holds, rights.

Here: the rules. Not here: HTTP (gcs_server.py). It is the tests' own and no work of Google's: what it does is what the
pages about objects.insert, Object Retention Lock, object holds, Object Versioning and resumable uploads promised at the
end of 2026, and nothing of it was compared with the real service. It is strict: what the documents do not allow, and
every parameter that it does not know, is refused. (No emulator that can be installed here enforces locks or holds.)
"""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_RETENTION: Final = timedelta(seconds=3_155_760_000)
_ABSENT: Final = 0
RIGHTS: Final = frozenset(
    {
        "storage.buckets.create",
        "storage.buckets.delete",
        "storage.buckets.enableObjectRetention",
        "storage.buckets.get",
        "storage.buckets.setIamPolicy",
        "storage.buckets.update",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
        "storage.objects.overrideUnlockedRetention",
        "storage.objects.setRetention",
        "storage.objects.update",
    }
)


class RefusalError(Exception):
    """What the service answers in place of what was asked for."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass
class StoredObject:
    """One generation of a key."""

    bucket: str
    name: str
    generation: int
    data: bytes
    fields: dict[str, Any]
    created: datetime
    metageneration: int = 1
    live: bool = True

    @property
    def retention(self) -> dict[str, Any] | None:
        return self.fields.get("retention")

    def locked(self, now: datetime) -> bool:
        return self.retention is not None and when(self.retention["retainUntilTime"]) > now

    @property
    def held(self) -> bool:
        return bool(self.fields.get("temporaryHold") or self.fields.get("eventBasedHold"))

    def resource(self) -> dict[str, Any]:
        """The object's properties, as the interface shows them: numbers of 64 bits are texts."""
        return {
            "kind": "storage#object",
            "bucket": self.bucket,
            "name": self.name,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "size": str(len(self.data)),
            "crc32c": crc32c(self.data),
            "timeCreated": _text(self.created),
            "updated": _text(self.created),
            **({} if self.live else {"timeDeleted": _text(self.created)}),
            **self.fields,
        }


@dataclass
class StoredBucket:
    """A bucket with its settings, and the rights of whoever asks."""

    name: str
    settings: dict[str, Any]
    rights: set[str] = field(default_factory=lambda: set(RIGHTS))
    objects: dict[str, list[StoredObject]] = field(default_factory=dict)

    @property
    def versioned(self) -> bool:
        return bool(self.settings.get("versioning", {}).get("enabled"))

    @property
    def locks(self) -> bool:
        return bool(self.settings.get("objectRetention", {}).get("mode") == "Enabled")

    def need(self, right: str) -> None:
        if right not in self.rights:
            message = f"tester does not have {right} access to the Google Cloud Storage bucket."
            raise RefusalError(403, "forbidden", message)

    def live(self, name: str) -> StoredObject | None:
        return next((each for each in self.objects.get(name, []) if each.live), None)

    def found(self, name: str, generation: int | None) -> StoredObject:
        for each in self.objects.get(name, []):
            if each.generation == generation or (generation is None and each.live):
                return each
        # Whoever may not list is not told whether it is there.
        self.need("storage.objects.list")
        raise RefusalError(404, "notFound", f"No such object: {self.name}/{name}")


@dataclass
class GcsRules:
    """The service.

    Attributes:
        clock: the service's own.
        ignored: parameters and fields of objects that are dropped in silence when an object is put.
        instead: fields of objects that are put in the place of what was asked for; `data`: its bytes.
        hidden: fields of objects that are not shown.
    """

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    buckets: dict[str, StoredBucket] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    instead: dict[str, Any] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    _last_generation: int = 1_764_000_000_000_000
    lock: threading.RLock = field(default_factory=threading.RLock)

    def bucket(self, name: str) -> StoredBucket:
        if name not in self.buckets:
            raise RefusalError(404, "notFound", "The specified bucket does not exist.")
        return self.buckets[name]

    def make_bucket(self, settings: Mapping[str, Any], params: Mapping[str, str]) -> StoredBucket:
        known(params, "alt", "project", "enableObjectRetention", "projection", "prettyPrint")
        name = str(settings["name"])
        if name in self.buckets:
            raise RefusalError(409, "conflict", "Your previous request to create the named bucket succeeded.")
        made = {"softDeletePolicy": {"retentionDurationSeconds": "604800"}, "location": "US", **settings}
        if params.get("enableObjectRetention", "").lower() == "true":
            made["objectRetention"] = {"mode": "Enabled"}
        bucket = self.buckets[name] = StoredBucket(name, made)
        return bucket

    def check_put(self, bucket: StoredBucket, name: str, params: Mapping[str, str]) -> None:
        """What an upload is refused for before its bytes come."""
        bucket.need("storage.objects.create")
        live = bucket.live(name)
        self._check_conditions(live, params)
        if live is not None:
            bucket.need("storage.objects.delete")
            self._check_making_noncurrent(bucket, live)

    def put(self, bucket_name: str, asked: Mapping[str, Any], params: Mapping[str, str], data: bytes) -> StoredObject:
        bucket = self.bucket(bucket_name)
        known(params, "uploadType", "name", "ifGenerationMatch", "ifMetagenerationMatch", "kmsKeyName", "upload_id")
        params = {key: value for key, value in params.items() if key not in self.ignored}
        fields = {key: value for key, value in asked.items() if key not in self.ignored}
        name = str(fields.pop("name", params.get("name", "")))
        self.check_put(bucket, name, params)
        sent = fields.pop("crc32c", None)
        data = self.instead.get("data", data)
        if sent is not None and sent != crc32c(data):
            raise RefusalError(400, "invalid", f'Provided CRC32C "{sent}" doesn\'t match calculated CRC32C.')
        if fields.get("retention") is not None:
            self._check_retention(bucket, fields["retention"])
        if "kmsKeyName" in params:
            fields["kmsKeyName"] = f"{params['kmsKeyName']}/cryptoKeyVersions/1"
        if bucket.settings.get("defaultEventBasedHold"):
            fields["eventBasedHold"] = True
        fields |= {key: value for key, value in self.instead.items() if key != "data"}
        known(fields, "retention", "kmsKeyName", "eventBasedHold", "metadata", "contentType", "contentEncoding")
        live = bucket.live(name)
        if live is not None:
            self._make_noncurrent(bucket, live)
        self._last_generation += 1
        made = StoredObject(bucket_name, name, self._last_generation, data, fields, self.clock())
        bucket.objects.setdefault(name, []).append(made)
        return made

    def patch(self, found: StoredObject, changes: Mapping[str, Any], params: Mapping[str, str]) -> StoredObject:
        bucket = self.bucket(found.bucket)
        bucket.need("storage.objects.update")
        known(
            params, "generation", "ifGenerationMatch", "ifMetagenerationMatch", "overrideUnlockedRetention",
            "projection", "prettyPrint",
        )  # fmt: skip
        known(changes, "retention", "temporaryHold", "metadata")
        self._check_conditions(found, params)
        if "retention" in changes:
            bucket.need("storage.objects.setRetention")
            self._check_change(bucket, found, changes["retention"], params)
        found.fields |= {key: value for key, value in changes.items() if key not in self.ignored}
        if found.fields.get("retention") is None:
            found.fields.pop("retention", None)
        found.metageneration += 1
        return found

    def delete(self, bucket: StoredBucket, name: str, params: Mapping[str, str]) -> None:
        bucket.need("storage.objects.delete")
        known(params, "generation", "ifGenerationMatch", "ifMetagenerationMatch", "prettyPrint")
        found = bucket.found(name, number(params, "generation"))
        self._check_conditions(found, params)
        if "generation" not in params and bucket.versioned:
            self._check_making_noncurrent(bucket, found)
            found.live = False
            return
        if found.held:
            raise _kept_by_hold(found)
        if found.locked(self.clock()):
            raise _kept_by_lock(found)
        bucket.objects[name].remove(found)

    def listed(self, bucket: StoredBucket, params: Mapping[str, str]) -> list[StoredObject]:
        bucket.need("storage.objects.list")
        known(
            params, "prefix", "startOffset", "endOffset", "versions", "maxResults", "pageToken", "fields", "projection",
            "prettyPrint",
        )  # fmt: skip
        return [
            each
            for name in sorted(bucket.objects, key=str.encode)
            for each in bucket.objects[name]
            if (each.live or params.get("versions", "").lower() == "true")
            and name.startswith(params.get("prefix", ""))
            and name.encode() >= params.get("startOffset", "").encode()
        ]

    def _check_conditions(self, found: StoredObject | None, params: Mapping[str, str]) -> None:
        generation = number(params, "ifGenerationMatch")
        there = _ABSENT if found is None else found.generation
        if generation is not None and generation != there:
            raise RefusalError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        metageneration = number(params, "ifMetagenerationMatch")
        if metageneration is not None and (found is None or metageneration != found.metageneration):
            raise RefusalError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")

    def _check_making_noncurrent(self, bucket: StoredBucket, live: StoredObject) -> None:
        # "An object that hasn't reached this retain-until time can still be made noncurrent"; a held one cannot.
        if live.held:
            raise _kept_by_hold(live)
        if live.locked(self.clock()) and not bucket.versioned:
            raise _kept_by_lock(live)

    def _make_noncurrent(self, bucket: StoredBucket, live: StoredObject) -> None:
        if bucket.versioned:
            live.live = False
        else:
            bucket.objects[live.name].remove(live)

    def _check_retention(self, bucket: StoredBucket, asked: Mapping[str, Any]) -> None:
        bucket.need("storage.objects.setRetention")
        if not bucket.locks:
            raise RefusalError(400, "invalid", "Object retention is not enabled for this bucket.")
        if asked.get("mode") not in {"Locked", "Unlocked"}:
            raise RefusalError(400, "invalid", f"Invalid retention mode {asked.get('mode')}.")
        now = self.clock()
        if not now < when(asked["retainUntilTime"]) <= now + _MOST_RETENTION:
            raise RefusalError(400, "invalid", "The retain until time must be in the future, for 100 years at most.")

    def _check_change(
        self, bucket: StoredBucket, found: StoredObject, asked: Mapping[str, Any] | None, params: Mapping[str, str]
    ) -> None:
        before = found.retention
        if asked:
            self._check_retention(bucket, asked)
        if before is None or not found.locked(self.clock()):
            return
        lengthened = (
            bool(asked)
            and asked is not None
            and asked["mode"] == before["mode"]
            and when(asked["retainUntilTime"]) >= when(before["retainUntilTime"])
        )
        if lengthened:
            return
        if before["mode"] == "Locked":
            raise RefusalError(403, "forbidden", f"Object {found.name} has a locked retention.")
        if params.get("overrideUnlockedRetention", "").lower() != "true":
            raise RefusalError(403, "forbidden", "overrideUnlockedRetention must be true to do this.")
        bucket.need("storage.objects.overrideUnlockedRetention")


def known(names: Mapping[str, Any], *allowed: str) -> None:
    """Refuse what these rules do not know: nothing is taken and dropped."""
    unknown = set(names) - set(allowed)
    if unknown:
        raise RefusalError(501, "notImplemented", f"the tests' service does not know {', '.join(sorted(unknown))}")


def number(params: Mapping[str, str], name: str) -> int | None:
    return int(params[name]) if name in params else None


def crc32c(data: bytes) -> str:
    checksum = google_crc32c.Checksum(data)  # type: ignore[no-untyped-call]
    return base64.b64encode(checksum.digest()).decode()  # type: ignore[no-untyped-call]


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _kept_by_lock(found: StoredObject) -> RefusalError:
    return RefusalError(
        403, "retentionPolicyNotMet", f"Object '{found.bucket}/{found.name}' is subject to its retention configuration "
        "and cannot be deleted or overwritten until its retain until time.",
    )  # fmt: skip


def _kept_by_hold(found: StoredObject) -> RefusalError:
    return RefusalError(
        403, "objectUnderActiveHold", f"Object '{found.bucket}/{found.name}' is under active Temporary hold and cannot "
        "be deleted, overwritten or archived until hold is removed.",
    )  # fmt: skip
