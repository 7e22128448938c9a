"""What a bucket of S3 is relied on for besides the port, tried out.

Here: versions, locks, lifecycle, encryption, public access, rights. Not here: what every store promises (promises.py).

What must not be possible is tried on a probe alone: deleting and shortening what is locked (lock_trials.py), storing
bytes under another checksum.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from compliance_pipelines.object_store.lock_trials import LOCK_SECONDS, trials_of_locks
from compliance_pipelines.object_store.promises import PROBES, Found, Verdict, looking
from compliance_pipelines.object_store.s3 import S3ObjectStore
from compliance_pipelines.object_store.s3_errors import Answer, answer_of, naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.base.health import HealthCheck
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.object_store.s3 import S3Bucket

_PIECE: Final = 5 * 2**20
_WRONG_CHECKSUM: Final = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
_ABSENT: Final = frozenset(
    {
        "NoSuchLifecycleConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
        "NoSuchBucketPolicy",
        "ObjectLockConfigurationNotFoundError",
        "ServerSideEncryptionConfigurationNotFoundError",
    }
)


@dataclass(frozen=True)
class _Bucket:
    """A bucket that is looked at; each question is a trial of its own."""

    client: S3Client
    bucket: S3Bucket
    retention_days: int

    @property
    def target(self) -> dict[str, Any]:
        return {"Bucket": self.bucket.name}

    def versions(self) -> Found:
        status = self.client.get_bucket_versioning(**self.target).get("Status")
        if status == "Enabled":
            return Verdict.KEPT, "", ""
        if self.bucket.lock_mode is None:
            return (
                Verdict.RISK,
                "it keeps no versions",
                "turn versions on: what is deleted by mistake is then still there",
            )
        return Verdict.BROKEN, "it keeps no versions", "turn versions on; Object Lock needs them"

    def lock(self) -> Found:
        answer = _or_absent(lambda: self.client.get_object_lock_configuration(**self.target))
        configuration = answer.get("ObjectLockConfiguration", {})
        if configuration.get("ObjectLockEnabled") != "Enabled":
            if self.bucket.lock_mode is None:
                return (
                    Verdict.RISK,
                    "nothing is locked",
                    "set AUDIT_COLD_STORAGE_LOCK, with a bucket that has Object Lock",
                )
            return (
                Verdict.BROKEN,
                "the bucket has no Object Lock",
                "turn Object Lock on, or use a bucket that was made with it",
            )
        if configuration.get("Rule"):
            return (
                Verdict.BROKEN,
                "it has a default retention, which locks what must be replaced, too",
                "remove the default retention: each archive is locked by its own date",
            )
        if self.bucket.lock_mode is None:
            return Verdict.RISK, "the bucket can lock, and nothing is locked", "set AUDIT_COLD_STORAGE_LOCK"
        return Verdict.KEPT, f"{self.bucket.lock_mode.lower()}", ""

    def lifecycle(self) -> Found:
        answer = _or_absent(lambda: self.client.get_bucket_lifecycle_configuration(**self.target))
        rules = [rule for rule in answer.get("Rules", []) if rule.get("Status") == "Enabled"]
        early = [str(rule.get("ID") or "without a name") for rule in rules if self._is_too_early(rule)]
        if early:
            return (
                Verdict.BROKEN,
                f"a rule ends objects before {self.retention_days:,} days: {', '.join(early)}",
                "remove it: archives are deleted by this project alone, after their retention",
            )
        missing = [
            what
            for what, name in (
                ("incomplete uploads", "AbortIncompleteMultipartUpload"),
                ("versions that were replaced", "NoncurrentVersionExpiration"),
            )
            if not any(name in rule for rule in rules)
        ]
        if missing:
            return Verdict.RISK, f"no rule ends {' nor '.join(missing)}", "add the rules of docs/cold-storage.md"
        return Verdict.KEPT, "", ""

    def _is_too_early(self, rule: Mapping[str, Any]) -> bool:
        expiration = rule.get("Expiration", {})
        days = expiration.get("Days")
        return "Date" in expiration or (days is not None and days < self.retention_days)

    def encryption(self) -> Found:
        answer = _or_absent(lambda: self.client.get_bucket_encryption(**self.target))
        rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        algorithms = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules]
        if self.bucket.encryption is not None:
            return Verdict.KEPT, f"{self.bucket.encryption} is asked for with each object", ""
        if any(algorithms):
            return Verdict.KEPT, f"{algorithms[0]} by the bucket's default", ""
        return Verdict.RISK, "the service is not asked to encrypt", "set AUDIT_COLD_STORAGE_ENCRYPTION, or a default"

    def public_access(self) -> Found:
        answer = _or_absent(lambda: self.client.get_public_access_block(**self.target))
        blocked = answer.get("PublicAccessBlockConfiguration", {})
        status = _or_absent(lambda: self.client.get_bucket_policy_status(**self.target)).get("PolicyStatus", {})
        if status.get("IsPublic"):
            return Verdict.BROKEN, "its policy makes it public", "remove that policy"
        names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        if all(blocked.get(name) for name in names):
            return Verdict.KEPT, "", ""
        return Verdict.RISK, "public access is not blocked altogether", "turn on all four blocks of public access"

    def checksum(self, key: str) -> Found:
        try:
            self.client.put_object(**self.target, Key=key, Body=b"data", ChecksumSHA256=_WRONG_CHECKSUM)
        except ClientError as error:
            if answer_of(error) is Answer.REFUSED:
                return Verdict.KEPT, "", ""
            raise
        self._delete_versions(key)
        return (
            Verdict.BROKEN,
            "bytes were stored whose SHA-256 is another than the one that was sent",
            "each object is read back after it was put, so that this is noticed; use a service that compares it",
        )

    def deletion_of_locked(self, key: str, version: str) -> Found:
        try:
            self.client.delete_object(**self.target, Key=key, VersionId=version)
        except ClientError as error:
            return _refused(error)
        return Verdict.BROKEN, "a locked version was deleted", "use a service that keeps Object Lock"

    def bypass(self, key: str, version: str) -> Found:
        try:
            self.client.delete_object(**self.target, Key=key, VersionId=version, BypassGovernanceRetention=True)
        except ClientError as error:
            return _refused(error)
        return (
            Verdict.BROKEN,
            "a locked version was deleted with the right to bypass locks",
            "take s3:BypassGovernanceRetention away from this login, or set AUDIT_COLD_STORAGE_LOCK=compliance",
        )

    def shortening(self, key: str, version: str, end: datetime) -> Found:
        mode: Any = self.bucket.lock_mode
        try:
            self.client.put_object_retention(
                **self.target,
                Key=key,
                VersionId=version,
                Retention={"Mode": mode, "RetainUntilDate": end - timedelta(seconds=LOCK_SECONDS // 2)},
            )
        except ClientError as error:
            return _refused(error)
        return Verdict.BROKEN, "a lock was shortened", "use a service that keeps Object Lock"

    def locking(self, end: datetime) -> ObjectStore:
        return S3ObjectStore(self.client, self.bucket, retain_until=lambda _: end, single_put_bytes=_PIECE)

    def of_locked(self, key: str, version: str, end: datetime) -> Iterator[tuple[str, Callable[[], Found]]]:
        name = S3ObjectStore(self.client, self.bucket).object_key(key)
        yield "what is locked cannot be deleted", lambda: self.deletion_of_locked(name, version)
        yield "no lock can be shortened", lambda: self.shortening(name, version, end)
        yield "this login cannot pass a lock", lambda: self.bypass(name, version)

    def _delete_versions(self, key: str) -> None:
        S3ObjectStore(self.client, self.bucket).delete(key.removeprefix(f"{self.bucket.prefix}/"))


def _or_absent(ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return ask()
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _ABSENT:
            return {}
        raise


def _refused(error: ClientError) -> Found:
    if answer_of(error) is Answer.REFUSED:
        return Verdict.KEPT, "", ""
    raise error


def trials_of_s3(store: S3ObjectStore, retention_days: int, pieces: Path) -> Iterator[HealthCheck]:
    """Try what a bucket promises.

    Args:
        store: in the bucket; it must be there.
        retention_days: days for which archives are kept, which no lifecycle rule may cut.
        pieces: an empty directory for a file that is put in pieces.
    """
    bucket = _Bucket(store.client, store.bucket, retention_days)

    look = looking(naming, store.uri)
    yield look("every version is kept", bucket.versions)
    yield look("objects can be locked, each until its own date", bucket.lock)
    yield look("no lifecycle rule deletes too early", bucket.lifecycle)
    yield look("the service encrypts", bucket.encryption)
    yield look("nobody has public access", bucket.public_access)
    yield look("a checksum that does not match is refused", lambda: bucket.checksum(store.object_key(f"{PROBES}sum")))
    if store.bucket.lock_mode is not None:
        path = pieces / "pieces"
        path.write_bytes(bytes(_PIECE + 1))
        yield from trials_of_locks(store, bucket, look, path)
