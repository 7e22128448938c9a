"""Every setting of the project, with its environment names, in one model.

Here: names, types, defaults, bounds, and the rules that hold between settings. Not here: anything that connects.
docs/configuration.md is tested against this model.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection


class ConfigurationError(ComplianceError):
    """A setting is missing or has a value that cannot be used."""


class NeededSettingsError(ConfigurationError):
    """Settings that a command needs are missing or cannot be used; it did nothing.

    The message has a line for each where there are several.

    Attributes:
        problems: each with what it is needed for.
    """

    def __init__(self, command: str, problems: Collection[str]) -> None:
        self.problems = tuple(" ".join(problem.splitlines()) for problem in problems)
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            lines = "".join(f"\n  - {problem}" for problem in self.problems)
            super().__init__(f"`{command}` needs what is missing or cannot be used:{lines}")

    def told(self) -> str:
        """The message, with a line for each problem where there are several."""
        return "\n".join(map(printable, str(self).split("\n")))


class Settings(BaseSettings):
    """The settings, read from the environment (names are case-insensitive) and from `.env` where there is one."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", populate_by_name=True, frozen=True)

    audit_log_database_url: SecretStr | None = Field(
        default=None,
        description="Connection string of the audit log, of a login with the roles that its "
        "work needs (docs/audit.md): the pipelines' or an auditor's.",
    )
    audit_log_migration_database_url: SecretStr | None = Field(
        default=None,
        description="Connection string with the right to create roles and tables, for `compliance db migrate`, "
        "`compliance ledger adopt-cluster` and `compliance ledger recover` alone. Default: AUDIT_LOG_DATABASE_URL.",
    )
    audit_log_connection_pool_size: int = Field(
        default=20, ge=1, le=1000, description="Connections that one process keeps to the audit log's database."
    )
    audit_log_tls_min_version: Literal["TLSv1.2", "TLSv1.3"] = Field(
        default="TLSv1.3", description="Oldest TLS version accepted from a PostgreSQL host that is not local."
    )
    audit_log_retention_days: int = Field(
        default=90, ge=1, description="Days for which entries stay in PostgreSQL before their day is archived."
    )
    audit_log_purge_grace_days: int = Field(
        default=7, ge=0, description="Days between the verification of a day's archive and its purge from PostgreSQL."
    )
    audit_log_first_day: date = Field(
        default=date(2015, 1, 1),
        ge=date(1000, 1, 1),
        description="First day whose entries are accepted; the first partition in Dagster.",
    )
    audit_log_days_ahead: int = Field(
        default=14, ge=2, le=366, description="Day partitions that the daily job makes ahead of time."
    )
    audit_log_actor: str = Field(
        default="compliance-pipelines",
        min_length=1,
        description="user_id of the entries that the project appends itself.",
    )
    audit_cold_storage_provider: Literal["local", "s3", "gcs"] = Field(
        default="local",
        description="Where archives go: a directory, a bucket of an S3 service, one of Google Cloud Storage.",
    )
    audit_cold_storage_path: Path | None = Field(
        default=None, description="Directory of the cold store with AUDIT_COLD_STORAGE_PROVIDER=local."
    )
    audit_cold_storage_bucket: str | None = Field(
        default=None,
        validation_alias=AliasChoices("audit_cold_storage_bucket", "aws_s3_audit_bucket", "gcp_gcs_audit_bucket"),
        description="Bucket of the cold store.",
    )
    audit_cold_storage_prefix: str = Field(
        default="",
        description="What the keys of all objects begin with in the bucket; without it they stand alone there.",
    )
    audit_cold_storage_lock: Literal["none", "governance", "compliance"] = Field(
        default="governance",
        description="Lock of archives and of what the ledger keeps for good in a bucket, until their retention ends. "
        "Nobody shortens a lock of `compliance`; some rights pass one of `governance`.",
    )
    audit_cold_storage_endpoint_url: str | None = Field(
        default=None,
        description="Service that is not AWS or not Google's: https, or http on this machine, where GCS is asked "
        "without credentials.",
    )
    audit_cold_storage_path_style: bool = Field(
        default=False,
        description="S3: the bucket is part of the path and not of the host's name, as many services want it.",
    )
    audit_cold_storage_ca_file: Path | None = Field(
        default=None, description="Certificates (PEM) that the service's is checked against. Default: the system's."
    )
    audit_cold_storage_encryption: Literal["aes256", "aws:kms"] | None = Field(
        default=None, description="Encryption by the S3 service that is asked for. Default: the bucket's."
    )
    audit_cold_storage_kms_key: str | None = Field(
        default=None,
        description="Key for `aws:kms` (id, ARN, alias) or GCS (`projects/.../cryptoKeys/...`). Default: the bucket's.",
    )
    audit_cold_storage_timeout_seconds: int = Field(
        default=60, ge=1, le=900, description="How long an answer of the service may take; then it is asked again."
    )
    audit_archive_encryption: bool | None = Field(
        default=None,
        description="Archives are encrypted before they leave this machine, each with a key of its own "
        "(docs/encryption.md). Default: with AUDIT_COLD_STORAGE_PROVIDER=s3 or gcs they are, in a directory not.",
    )
    audit_archive_keyring_file: Path | None = Field(
        default=None,
        description="File with the keys that wrap the keys of archives, made with `compliance keys init`.",
    )
    audit_archive_kms_key: str | None = Field(
        default=None,
        description="Key in AWS or GCP KMS (`awskms:///...`, `gcpkms://...`) that wraps the keys of new archives, in "
        "place of the keyring's.",
    )
    audit_archive_former_kms_keys: tuple[str, ...] = Field(
        default=(), description="Keys in a KMS that wrapped keys of archives before and unwrap them still, as JSON."
    )
    aws_s3_region: str | None = Field(default=None, description="Region of the S3 bucket. Default: as boto3 finds it.")
    gcp_project_id: str | None = Field(
        default=None, description="Project in which the GCS bucket is made. Default: that of the credentials."
    )
    gcp_gcs_location: str | None = Field(
        default=None,
        description="Where in the world `compliance store init` makes a GCS bucket that is not there, such as "
        "`europe-west3`. Default: it makes none.",
    )
    audit_cold_storage_retention_years: int = Field(
        default=7, ge=1, description="Years for which archives are kept in the cold store."
    )
    audit_archive_scrub_days: int = Field(
        default=90, ge=1, description="Days within which each archive is read back from the cold store again."
    )
    audit_archive_scrub_bytes_per_day: int = Field(
        default=10 * 2**30,
        ge=1,
        description="Bytes of archives that the daily scrub reads back at most; the last one may go beyond it.",
    )
    ledger_signing_key: SecretStr | None = Field(
        default=None,
        description="Ed25519 key that signs checkpoints and manifests: a signed-note private key, or a reference to a "
        "key in AWS or GCP KMS (`awskms:///...`, `gcpkms://...`).",
    )
    ledger_signing_key_file: Path | None = Field(
        default=None, description="File that holds the signing key, or the reference; LEDGER_SIGNING_KEY wins."
    )
    ledger_name: str = Field(
        default="compliance-pipelines/audit",
        min_length=1,
        description="Name of the ledger where its key is in a KMS, which does not know it; a key of a file has it.",
    )
    ledger_second_signing_key: SecretStr | None = Field(
        default=None,
        description="Another key of the same ledger: the one that will follow, or the one before. Which of the two "
        "signs, and whether both do, the ledger's records about its keys say.",
    )
    ledger_second_signing_key_file: Path | None = Field(
        default=None, description="File that holds that other key; LEDGER_SECOND_SIGNING_KEY wins."
    )
    ledger_key_overlap_days: int = Field(
        default=30,
        ge=0,
        le=3650,
        description="Days for which the key before signs checkpoints, too, after `compliance ledger rotate-key`.",
    )
    ledger_public_key: str | None = Field(
        default=None,
        description="The ledger's public key, or a file that holds it: what is verified against where there is no "
        "signing key. Where both are set they must be of one key.",
    )
    ledger_seal_max_entries: int = Field(
        default=1_000_000, ge=1, description="Entries sealed in one pass, unless a single transaction wrote more."
    )
    ledger_seal_max_lag_seconds: int = Field(
        default=300, ge=1, description="Age of the oldest unsealed entry from which the sealing lag is a failure."
    )
    ledger_seal_max_busy_seconds: int = Field(
        default=900,
        ge=1,
        description="How long whoever holds the lock of sealing may do nothing before that is a failure and no longer "
        "`another process is sealing`.",
    )
    ledger_witnesses: str | None = Field(
        default=None,
        description="Witnesses that cosign checkpoints, and how many must agree: a C2SP tlog-policy, or a file that "
        "holds it; see docs/ledger.md.",
    )
    ledger_witness_max_lag_seconds: int = Field(
        default=3600, ge=1, description="Time after sealing from which a missing quorum of witnesses is a failure."
    )
    ledger_tsa_url: str | None = Field(
        default=None,
        description="Time-stamp authority (RFC 3161) that is asked about each day's last checkpoint, http or https.",
    )
    ledger_tsa_certificates: Path | None = Field(
        default=None,
        description="File with the authority's certificates (PEM), against which its time stamps are checked; "
        "needed with LEDGER_TSA_URL.",
    )
    ledger_tsa_max_lag_seconds: int = Field(
        default=86_400,
        ge=1,
        description="Time after a day's last checkpoint from which a missing time stamp is a failure.",
    )
    ledger_outside_timeout_seconds: float = Field(
        default=10.0, gt=0, le=25, description="How long witnesses, and the time-stamp authority, are waited for."
    )
    archive_max_runs_per_tick: int = Field(
        default=25, ge=1, description="Runs that one tick of the daily schedule requests at most."
    )
    archive_staging_path: Path | None = Field(
        default=None, description="Directory for Parquet files on their way to the store. Default: the system's."
    )
    audit_search_memory_mb: int = Field(
        default=1024,
        ge=64,
        description="Memory that `compliance search` and `query` let DuckDB use, in MiB; see docs/search.md.",
    )
    audit_search_request_price: float | None = Field(
        default=None,
        ge=0,
        description="Price of 1,000 reading requests to the cold store, in US dollars. Default: the provider's list.",
    )
    audit_search_transfer_price: float | None = Field(
        default=None,
        ge=0,
        description="Price of a GiB that is read from the cold store, in US dollars; 0 within the provider's region. "
        "Default: what the provider lists for transfer out to the Internet.",
    )
    checkpoint_redis_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("checkpoint_redis_url", "redis_checkpoint_url"),
        description="Redis of the LangGraph checkpoints: redis, rediss, unix, redis+sentinel or redis+cluster.",
    )
    checkpoint_redis_prefix: str = Field(
        default="checkpoint", min_length=1, description="Key prefix of checkpoints, as the saver was given it."
    )
    checkpoint_redis_write_prefix: str = Field(
        default="checkpoint_write", min_length=1, description="Key prefix of writes, as the saver was given it."
    )
    checkpoint_redis_allow_plaintext: bool = Field(
        default=False, description="Permits redis:// without TLS to a host that is not this machine."
    )
    conversation_retention_days: int = Field(
        default=90,
        ge=1,
        validation_alias=AliasChoices("conversation_retention_days", "retention_days"),
        description="Days without activity after which a conversation is removed.",
    )
    conversation_max_age_days: int | None = Field(
        default=None, ge=1, description="Days after its beginning on which a conversation is removed, active or not."
    )
    conversation_user_days: dict[str, int] = Field(
        default_factory=dict, description="Shorter periods of some users, as JSON: user id to days."
    )
    conversation_prefix_days: dict[str, int] = Field(
        default_factory=dict, description="Shorter periods of some threads, as JSON: start of the thread id to days."
    )
    conversation_exempt_users: tuple[str, ...] = Field(
        default=(), description="Users whose conversations stay, as JSON."
    )
    conversation_exempt_threads: tuple[str, ...] = Field(default=(), description="Thread ids that stay, as JSON.")
    conversation_owner_pattern: str | None = Field(
        default=None,
        description="Regular expression with a group `user`, which reads the owner off a whole thread id. The last "
        "resort: what checkpoints and notes say goes first.",
    )
    retention_policy_file: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("retention_policy_file", "retention_config_path", "data_retention_config"),
        description="mcp-server-langgraph's retention_policies.yaml; where it is given, its periods apply to "
        "conversations and the CONVERSATION_..._DAYS do not.",
    )
    conversation_purge_max_threads: int = Field(
        default=10_000, ge=1, description="Conversations that one plan may remove without a person's consent."
    )
    conversation_purge_max_share: float = Field(
        default=0.5, gt=0, le=1, description="Share of all conversations that one plan may remove without consent."
    )
    conversation_purge_share_from: int = Field(
        default=100, ge=1, description="Planned conversations from which on the share counts."
    )
    conversation_purge_pause_seconds: float = Field(
        default=5.0,
        ge=0,
        description="How long conversations are set aside before they are removed: a graph that had read one before "
        "and writes within this time keeps it.",
    )
    conversation_purge_max_names: int = Field(
        default=2_000_000,
        ge=0,
        description="Keys of a Redis up to which conversations of savers without pointers (before 0.1, LangGraph.js) "
        "are removed: for each 500 of them all names are gone through in one step, in which the Redis answers nobody.",
    )
    conversation_pace: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the time in which surveys, purges and erasures of conversations may keep Redis busy; "
        "what is below 1 is left to others in pauses.",
    )
    session_retention_days: int = Field(
        default=90, ge=1, description="Days without use after which a session is removed; see docs/sessions.md."
    )
    session_exempt_users: tuple[str, ...] = Field(
        default=(), description="Users whose sessions and memories stay, as JSON."
    )
    memory_retention_days: int | None = Field(
        default=None, ge=1, description="Days without a change after which a memory is removed. Default: they stay."
    )
    session_purge_max_keys: int = Field(
        default=10_000, ge=1, description="Sessions and memories that one plan may remove without a person's consent."
    )
    gdpr_subject_pseudonyms: Literal["none", "hmac"] = Field(
        default="none",
        description="What audit entries about erasures and holds call a person: the user id, or an HMAC of it.",
    )
    gdpr_pseudonym_key: SecretStr | None = Field(
        default=None,
        description="Key of the pseudonyms, at least 32 random characters. Without it nobody can be found again.",
    )
    gdpr_session_redis_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("gdpr_session_redis_url", "redis_url"),
        description="Redis whose `session:*` and `user_sessions:*` keys an erasure deletes.",
    )
    gdpr_playground_redis_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("gdpr_playground_redis_url", "playground_redis_url"),
        description="Redis of the playground's sessions, where it is another one: the same keys are looked for there.",
    )
    gdpr_notes_redis_url: SecretStr | None = Field(
        default=None,
        description="Redis of the notes on conversations (`conversation:metadata:*`), where it is another one. In the "
        "Redis of the checkpoints and of the sessions they are looked for in any case.",
    )
    gdpr_store_redis_url: SecretStr | None = Field(
        default=None,
        description="Redis whose LangGraph store (long-term memories) an erasure deletes from. "
        "Default: CHECKPOINT_REDIS_URL.",
    )
    gdpr_store_prefix: str = Field(default="store", min_length=1, description="Key prefix of the LangGraph store.")
    gdpr_store_vector_prefix: str = Field(
        default="store_vectors", min_length=1, description="Key prefix of the LangGraph store's vectors."
    )
    gdpr_foreign_keys: tuple[str, ...] = Field(
        default=(),
        description="How the names of other software's keys begin that only look like sessions, notes or memories, as "
        "JSON. An erasure does not look at them, and its record says so.",
    )
    gdpr_store_namespaces: str = Field(
        default='[["memories", "{user_id}", "**"], ["{user_id}", "**"]]',
        description="Namespaces that belong to one person, as JSON: lists of labels, where `{user_id}` is the person, "
        "`*` any label and a final `**` any further ones. The first that fits decides.",
    )
    gdpr_sql_targets: SecretStr | None = Field(
        default=None, description="Tables that an erasure covers, as JSON; see docs/erasure.md."
    )
    gdpr_erasure_max_items: int | None = Field(
        default=None,
        ge=0,
        description="An erasure that would delete more things than this waits for `erase run ID --confirm N`.",
    )
    gdpr_aliases_sql: SecretStr | None = Field(
        default=None, description="Tables that say under which further ids a person's data stands, as JSON."
    )
    gdpr_controller: str | None = Field(
        default=None,
        description="Name and address of the controller, the sender of certificates; `\\n` begins a new line.",
    )
    gdpr_contact: str | None = Field(
        default=None,
        description="Whom a person asks: the data protection officer's name, mail address, telephone; `\\n` begins a "
        "new line.",
    )
    gdpr_authority: str | None = Field(
        default=None,
        description="Name and address of the supervisory authority that certificates name for a complaint; `\\n` "
        "begins a new line.",
    )
    gdpr_language: Literal["en", "de", "fr"] = Field(default="en", description="Language of certificates.")
    gdpr_data_words: dict[str, dict[Literal["en", "de", "fr"], str]] = Field(
        default_factory=dict,
        description="What certificates call a kind of data, as JSON: its name in the deletion record, such as a "
        "table's, to words in each language. A kind without words of its own is called other records.",
    )
    gdpr_certificate_note: str | None = Field(
        default=None,
        description="Text of yours in every certificate, on what only you know, such as backups; `\\n` begins a "
        "new paragraph.",
    )
    compliance_local_stack: bool = Field(
        default=False, description="Set by the embedded stack; permits `--as-of`. Never set it in production."
    )

    @field_validator("gdpr_foreign_keys")
    @classmethod
    def _leaves_something(cls, prefixes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Refuse a start that would leave out everything that an erasure looks for."""
        stores = (f"{info.data.get(name)}:" for name in ("gdpr_store_prefix", "gdpr_store_vector_prefix"))
        wanted = ("session:user:", "conversation:metadata:", *stores)
        for prefix in prefixes:
            if any(each.startswith(prefix) for each in wanted):
                raise ValueError(
                    f"{prefix!r} is how keys begin that hold people's data, and none of them would be erased"
                )
        return prefixes

    @field_validator("gdpr_controller", "gdpr_contact", "gdpr_authority", "gdpr_certificate_note", mode="after")
    @classmethod
    def _lines(cls, text: str | None) -> str | None:
        """Lines without the blanks around them; a text of blanks alone is none."""
        lines = (text or "").replace("\\n", "\n").strip().splitlines()
        return "\n".join(line.strip() for line in lines) or None

    @field_validator("gdpr_data_words", mode="after")
    @classmethod
    def _worded(cls, words: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        if any(not text.strip() for texts in words.values() for text in texts.values()):
            raise ValueError("words for a kind of data must not be blank")
        return words

    def require_database_url(self) -> str:
        """The audit log's database URL.

        Raises:
            ConfigurationError: it is not set.
        """
        if self.audit_log_database_url is None:
            raise ConfigurationError(
                "AUDIT_LOG_DATABASE_URL is not set: give the connection string of the audit log's PostgreSQL "
                "(postgresql://user:password@host:5432/database), or start the embedded stack with `make run`"
            )
        return self.audit_log_database_url.get_secret_value()

    @property
    def encrypts_archives(self) -> bool:
        """Whether new archives are encrypted before they leave this machine."""
        if self.audit_archive_encryption is None:
            return self.audit_cold_storage_provider != "local"
        return self.audit_archive_encryption

    def require_migration_database_url(self) -> str:
        """The database URL for migrations: its own setting, else the audit log's.

        Raises:
            ConfigurationError: neither is set.
        """
        if self.audit_log_migration_database_url is not None:
            return self.audit_log_migration_database_url.get_secret_value()
        return self.require_database_url()


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: a value cannot be used; the message names the setting, never the value.
    """
    try:
        return Settings()
    except (ValidationError, SettingsError) as error:
        raise ConfigurationError(f"settings cannot be used: {'; '.join(_problems_of(error))}") from None


def readable_settings() -> tuple[Settings, list[str]]:
    """The settings with the default of each whose value cannot be used, and what is wrong with those values.

    For whoever names everything that is wrong at once; nothing is done with such settings.

    Raises:
        ConfigurationError: one cannot be read in such a way that nothing can be told about the others.
    """
    try:
        return Settings(), []
    except SettingsError as error:
        raise ConfigurationError(f"settings cannot be used: {'; '.join(_problems_of(error))}") from None
    except ValidationError as error:
        problems = _problems_of(error)
        unusable = {_field_of(str(problem["loc"][0])) for problem in error.errors() if problem["loc"]}
    defaults = {name: Settings.model_fields[name].get_default(call_default_factory=True) for name in unusable}
    try:
        return Settings(**defaults), problems
    except (ValidationError, SettingsError):
        raise ConfigurationError(f"settings cannot be used: {'; '.join(problems)}") from None


def _problems_of(error: ValidationError | SettingsError) -> list[str]:
    if isinstance(error, SettingsError):
        named = re.search('"(.*?)"', str(error))
        return [f"{named[1].upper() if named else 'a setting'}: Input should be valid JSON"]
    return [
        f"{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)
    ]


def _field_of(location: str) -> str:
    """The name of the field that a validation error names by it or by one of its environment names."""
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []
        if location in {name, *names}:
            return name
    return location
