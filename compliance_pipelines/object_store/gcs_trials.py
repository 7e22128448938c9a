"""What a bucket of Google Cloud Storage is relied on for besides the port, tried out.

Here: settings of the bucket, rights, locks, checksums. Not here: what every store promises (promises.py), the probe
that is locked (lock_trials.py).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.object_store.gcs import GcsObjectStore
from compliance_pipelines.object_store.gcs_errors import FAILURES, Answer, answer_of, naming
from compliance_pipelines.object_store.gcs_uploads import ABSENT, put
from compliance_pipelines.object_store.lock_trials import LOCK_SECONDS, trials_of_locks
from compliance_pipelines.object_store.promises import PROBES, Found, Verdict, looking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from compliance_pipelines.base.health import HealthCheck

NEEDED: Final = (
    "storage.buckets.get",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
    "storage.objects.setRetention",
    "storage.objects.update",
)
"""What the pipelines' login does; of these setRetention where objects are locked."""

_DANGEROUS: Final = (
    "storage.buckets.delete",
    "storage.buckets.setIamPolicy",
    "storage.buckets.update",
    "storage.objects.overrideUnlockedRetention",
)
_SET_RETENTION: Final = "storage.objects.setRetention"
# One byte more than Google's library sends in one request.
_PIECES_BYTES: Final = 8 * 2**20 + 1
_WRONG_CRC32C: Final = "AAAAAA=="
# A rule with one of these is for what was replaced or deleted, or for objects with a time that ours never have.
_NOT_FOR_OURS: Final = frozenset(
    {"daysSinceNoncurrentTime", "noncurrentTimeBefore", "numNewerVersions", "customTimeBefore", "daysSinceCustomTime"}
)


@dataclass(frozen=True)
class _Bucket:
    """A bucket that is looked at; each question is a trial of its own."""

    store: GcsObjectStore
    retention_days: int

    @cached_property
    def settings(self) -> Any:  # noqa: ANN401 - of Google's library, which has no types
        """The bucket with its settings; asked for once."""
        service = self.store.service
        return service.client.get_bucket(self.store.bucket.name, **service.waiting)

    @property
    def locks(self) -> bool:
        return self.store.bucket.lock_mode is not None

    def undeletion(self) -> Found:
        policy = self.settings.soft_delete_policy
        seconds = int(policy.retention_duration_seconds or 0)
        if self.settings.versioning_enabled:
            return Verdict.KEPT, "by versions", ""
        if seconds:
            days = f"{seconds / 86_400:.0f} days"
            return Verdict.KEPT, f"for {days} after it was deleted, a key that was destroyed on purpose included", ""
        return (
            Verdict.RISK,
            "it has neither soft delete nor versions: what is not locked is gone when it is deleted",
            "turn soft delete on",
        )

    def lock(self) -> Found:
        settings = self.settings
        if settings.default_event_based_hold:
            return (
                Verdict.BROKEN,
                "it holds each new object, the newest checkpoint included, which must be replaced",
                "turn the default event-based hold off: each archive is locked by its own date",
            )
        if settings.retention_period:
            return (
                Verdict.BROKEN,
                f"it has a retention policy of {settings.retention_period} s, which locks what must be replaced, too",
                "remove the retention policy: each archive is locked by its own date",
            )
        if settings.object_retention_mode != "Enabled":
            if not self.locks:
                remedy = "set AUDIT_COLD_STORAGE_LOCK, with a bucket that has object retention"
                return Verdict.RISK, "nothing is locked", remedy
            return (
                Verdict.BROKEN,
                "the bucket has no object retention",
                "turn object retention on, or use a bucket that was made with it",
            )
        if not self.locks:
            return Verdict.RISK, "the bucket can lock, and nothing is locked", "set AUDIT_COLD_STORAGE_LOCK"
        return Verdict.KEPT, f"{self.store.bucket.lock_mode}", ""

    def lifecycle(self) -> Found:
        rules = [rule for rule in self.settings.lifecycle_rules if rule.get("action", {}).get("type") == "Delete"]
        early = [str(dict(rule.get("condition", {}))) for rule in rules if self._is_too_early(rule)]
        if early:
            return (
                Verdict.BROKEN,
                f"a rule deletes objects before {self.retention_days:,} days: {', '.join(early)}",
                "remove it: archives are deleted by this project alone, after their retention",
            )
        if self.settings.versioning_enabled and not any(_is_for_noncurrent(rule) for rule in rules):
            return (
                Verdict.RISK,
                "no rule deletes versions that were replaced",
                "add the rule of docs/cold-storage.md, or turn versions off",
            )
        return Verdict.KEPT, "", ""

    def _is_too_early(self, rule: Mapping[str, Any]) -> bool:
        # All conditions of a rule must hold, so that one that holds for nothing of ours makes it harmless.
        condition = rule.get("condition", {})
        if _is_for_noncurrent(rule) or _NOT_FOR_OURS & set(condition):
            return False
        ours = self.store.object_key("")
        prefixes = condition.get("matchesPrefix", [])
        if prefixes and not any(ours.startswith(each) or each.startswith(ours) for each in prefixes):
            return False
        age = condition.get("age")
        return age is None or int(age) < self.retention_days

    def encryption(self) -> Found:
        if self.store.bucket.kms_key is not None:
            return Verdict.KEPT, f"{self.store.bucket.kms_key} is asked for with each object", ""
        default = self.settings.default_kms_key_name
        if default:
            return Verdict.KEPT, f"{default} by the bucket's default", ""
        return Verdict.KEPT, "by keys of Google's; one of your own: AUDIT_COLD_STORAGE_KMS_KEY", ""

    def public_access(self) -> Found:
        iam = self.settings.iam_configuration
        if not iam.uniform_bucket_level_access_enabled:
            return (
                Verdict.RISK,
                "single objects can be given to others by lists of their own",
                "turn uniform bucket-level access on",
            )
        if iam.public_access_prevention != "enforced":
            return (
                Verdict.RISK,
                "public access is not prevented by the bucket itself",
                "enforce public access prevention",
            )
        return Verdict.KEPT, "", ""

    def rights(self) -> Found:
        needed = [right for right in NEEDED if self.locks or right != _SET_RETENTION]
        service = self.store.service
        bucket = service.client.bucket(self.store.bucket.name)
        found = set(bucket.test_iam_permissions([*needed, *_DANGEROUS], **service.waiting))
        missing = [right for right in needed if right not in found]
        if missing:
            return Verdict.BROKEN, f"it lacks {', '.join(missing)}", "give it the role of docs/cold-storage.md"
        too_many = [right for right in _DANGEROUS if right in found]
        if too_many:
            return (
                Verdict.RISK,
                f"it has {', '.join(too_many)}, which the pipelines never use",
                "give it the role of docs/cold-storage.md in place of one of Google's",
            )
        return Verdict.KEPT, "", ""

    def checksum(self) -> Found:
        key = f"{PROBES}sum"
        upload = replace(self.store.upload_of(key, b"data"), crc32c=_WRONG_CRC32C)
        try:
            put(self.store.service, upload, io.BytesIO(b"data"), ABSENT)
        except FAILURES as error:
            if answer_of(error) is Answer.REFUSED:
                return Verdict.KEPT, "", ""
            raise
        self.store.delete(key)
        return (
            Verdict.BROKEN,
            "bytes were stored whose CRC32C is another than the one that was sent",
            "each object is looked at after it was put, so that this is noticed; use a service that compares it",
        )

    def locking(self, end: datetime) -> GcsObjectStore:
        return GcsObjectStore(self.store.service, self.store.bucket, retain_until=lambda _: end)

    def of_locked(self, key: str, version: str, end: datetime) -> Iterator[tuple[str, Callable[[], Found]]]:
        earlier = end - timedelta(seconds=LOCK_SECONDS // 2)
        yield "what is locked cannot be deleted", lambda: self._deletion(key, version)
        yield "no lock can be shortened", lambda: self._shortening(key, version, earlier)
        yield "this login cannot pass a lock", lambda: self._bypass(key, version, earlier)
        yield "what is locked is not lost when something is put over it", lambda: self._replacement(key, version)

    def _locked(self, key: str, version: str) -> Any:  # noqa: ANN401 - of Google's library
        bucket = self.store.service.client.bucket(self.store.bucket.name)
        return bucket.blob(self.store.object_key(key), generation=int(version))

    def _deletion(self, key: str, version: str) -> Found:
        return _refused(
            lambda: self._locked(key, version).delete(**self.store.service.waiting),
            "a locked object was deleted",
            "use a service that keeps object retention",
        )

    def _shortening(self, key: str, version: str, end: datetime) -> Found:
        return _refused(
            lambda: self._shorten(key, version, end, override=False),
            "a lock was shortened",
            "use a service that keeps object retention",
        )

    def _bypass(self, key: str, version: str, end: datetime) -> Found:
        return _refused(
            lambda: self._shorten(key, version, end, override=True),
            "a lock was shortened with the right to override it",
            "take storage.objects.overrideUnlockedRetention away from this login, or set "
            "AUDIT_COLD_STORAGE_LOCK=compliance",
        )

    def _shorten(self, key: str, version: str, end: datetime, *, override: bool) -> None:
        blob = self._locked(key, version)
        blob.retention.mode = self.store.bucket.lock_mode
        blob.retention.retain_until_time = end
        blob.patch(override_unlocked_retention=override, **self.store.service.waiting)

    def _replacement(self, key: str, version: str) -> Found:
        upload = self.store.upload_of(key, b"another")
        try:
            put(self.store.service, upload, io.BytesIO(b"another"), int(version))
        except FAILURES as error:
            if answer_of(error) is Answer.REFUSED:
                return Verdict.KEPT, "it is refused", ""
            raise
        try:
            self._locked(key, version).reload(**self.store.service.waiting)
        except FAILURES as error:
            if answer_of(error) is not Answer.NOT_FOUND:
                raise
            return Verdict.BROKEN, "a locked object was replaced", "use a service that keeps object retention"
        return Verdict.KEPT, "the locked generation is still there, behind the newer one", ""


def _is_for_noncurrent(rule: Mapping[str, Any]) -> bool:
    return rule.get("condition", {}).get("isLive") is False or bool(
        {"daysSinceNoncurrentTime", "noncurrentTimeBefore", "numNewerVersions"} & set(rule.get("condition", {}))
    )


def _refused(ask: Callable[[], object], broken: str, remedy: str) -> Found:
    try:
        ask()
    except FAILURES as error:
        if answer_of(error) is Answer.REFUSED:
            return Verdict.KEPT, "", ""
        raise
    return Verdict.BROKEN, broken, remedy


def trials_of_gcs(store: GcsObjectStore, retention_days: int, pieces: Path) -> Iterator[HealthCheck]:
    """Try what a bucket promises.

    Args:
        store: in the bucket; it must be there.
        retention_days: days for which archives are kept, which no lifecycle rule may cut.
        pieces: an empty directory for a file that is put in pieces.
    """
    bucket = _Bucket(store, retention_days)

    look = looking(naming, store.uri)
    yield look("this login has the rights that it needs, and no more", bucket.rights)
    yield look("what is deleted by mistake can be had back", bucket.undeletion)
    yield look("objects can be locked, each until its own date", bucket.lock)
    yield look("no lifecycle rule deletes too early", bucket.lifecycle)
    yield look("the service encrypts", bucket.encryption)
    yield look("nobody has public access", bucket.public_access)
    yield look("a checksum that does not match is refused", bucket.checksum)
    if store.bucket.lock_mode is not None:
        path = pieces / "pieces"
        path.write_bytes(bytes(_PIECES_BYTES))
        yield from trials_of_locks(store, bucket, look, path)
