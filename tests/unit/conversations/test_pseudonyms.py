from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.conversations.pseudonyms import pseudonyms_of
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.kms import kms_signer
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from compliance_pipelines.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from pathlib import Path


REFERENCE = "awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def services(keys: Keyring, tmp_path: Path, pseudonym_key: str | None = None) -> Services:
    settings = Settings(_env_file=None, gdpr_pseudonym_key=pseudonym_key)
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nowhere")
    return Services(settings, engine, LocalObjectStore(tmp_path), keys)


def test_names_are_derived_from_a_key_of_a_file_and_from_none_in_a_kms(tmp_path: Path) -> None:
    in_kms, in_file = kms_signer(REFERENCE, "example.org/audit"), SigningKey("example.org/audit", bytes(32))
    assert pseudonyms_of(services(Keyring.of(in_file), tmp_path)).key
    with pytest.raises(ConfigurationError, match=r"is in a KMS, .*set GDPR_PSEUDONYM_KEY"):
        pseudonyms_of(services(Keyring.of(in_kms), tmp_path))
    assert pseudonyms_of(services(Keyring.of(in_kms), tmp_path, "x" * 32)).key == b"x" * 32
