"""Keys in a KMS, against servers that answer as AWS and GCP do: requests are looked at, answers are not believed."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from compliance_pipelines.kms import gcp as gcp_service
from compliance_pipelines.kms.errors import KmsError, KmsUnavailableError
from compliance_pipelines.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from compliance_pipelines.ledger.gcp_kms import GcpKmsKey
from compliance_pipelines.ledger.keys import load_signing_keys, signer_of
from compliance_pipelines.ledger.kms import KmsSigner, kms_signer
from compliance_pipelines.ledger.public_key import load_verifier_key
from compliance_pipelines.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME: Final = "example.org/audit"
KEY: Final = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
ARN: Final = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
VERSION: Final = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
CHECKPOINT: Final = Checkpoint(NAME, 7, bytes(range(32)))

Answer = tuple[int, Any]


@contextmanager
def served(answer: Callable[[str, str, dict[str, Any]], Answer]) -> Iterator[str]:
    """A server on the loopback; `answer` gets what is asked for, the path, and the body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            self._answer(*answer(self.headers.get("X-Amz-Target", "POST"), self.path, body))

        def do_GET(self) -> None:
            self._answer(*answer("GET", self.path, {}))

        def _answer(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def aws(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> KmsSigner:
    for name, value in {
        "AWS_ENDPOINT_URL_KMS": endpoint,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return kms_signer(f"awskms:///{ARN}", NAME)


def aws_answers(
    asked: list[tuple[str, dict[str, Any]]], public: object = KEY.public_key(), signed_by: Ed25519PrivateKey = KEY
) -> Callable[[str, str, dict[str, Any]], Answer]:
    def answer(target: str, _path: str, body: dict[str, Any]) -> Answer:
        asked.append((target, body))
        if target == "TrentService.GetPublicKey":
            der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
            return 200, {"KeyId": ARN, "PublicKey": base64.b64encode(der).decode(), "KeySpec": "ECC_NIST_EDWARDS25519"}
        signature = signed_by.sign(base64.b64decode(body["Message"]))
        return 200, {"KeyId": ARN, "Signature": base64.b64encode(signature).decode()}

    return answer


def test_aws_is_asked_for_the_signature_of_the_text_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    with served(aws_answers(asked)) as endpoint:
        signer = aws(monkeypatch, endpoint)
        note = sign_checkpoint(CHECKPOINT, signer)
        assert open_checkpoint(note, signer.verifier_key()) == CHECKPOINT
    assert signer.verifier_key().public_key == KEY.public_key().public_bytes_raw()
    (signing,) = (body for target, body in asked if target == "TrentService.Sign")
    assert signing == {
        "KeyId": ARN,
        "Message": base64.b64encode(CHECKPOINT.to_text().encode()).decode(),
        "MessageType": "RAW",
        "SigningAlgorithm": "ED25519_SHA_512",
    }
    assert [target for target, _ in asked].count("TrentService.GetPublicKey") == 1


def test_a_signature_that_is_not_the_keys_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        served(aws_answers([], signed_by=Ed25519PrivateKey.generate())) as endpoint,
        pytest.raises(KmsError, match="not its signature; nothing was signed"),
    ):
        sign_checkpoint(CHECKPOINT, aws(monkeypatch, endpoint))


def test_a_key_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        served(aws_answers([], public=generate_private_key(SECP256R1()).public_key())) as endpoint,
        pytest.raises(KmsError, match="is no Ed25519 key"),
    ):
        aws(monkeypatch, endpoint).verifier_key()


@pytest.mark.parametrize(
    ("code", "kind"), [("DisabledException", KmsError), ("ThrottlingException", KmsUnavailableError)]
)
def test_what_aws_refuses_is_said_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, code: str, kind: type[KmsError]
) -> None:
    def refuse(*_: object) -> Answer:
        return 400, {"__type": code, "message": "because of that"}

    with served(refuse) as endpoint, pytest.raises(kind, match="because of that") as caught:
        aws(monkeypatch, endpoint).verifier_key()
    assert type(caught.value) is kind


def test_a_service_that_does_not_answer_may_do_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(lambda *_: (200, {})) as endpoint:
        pass
    with pytest.raises(KmsUnavailableError, match=r"awskms:.*cannot be asked"):
        aws(monkeypatch, endpoint).verifier_key()


def gcp(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> KmsSigner:
    monkeypatch.setattr(gcp_service, "ENDPOINT", endpoint)
    return KmsSigner(NAME, f"gcpkms://{VERSION}", GcpKmsKey(VERSION, requests.Session))


def gcp_answers(
    asked: list[tuple[str, str, dict[str, Any]]], algorithm: str = "EC_SIGN_ED25519", status: int = 200
) -> Callable[[str, str, dict[str, Any]], Answer]:
    def answer(method: str, path: str, body: dict[str, Any]) -> Answer:
        asked.append((method, path, body))
        if method == "GET":
            pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            return status, {"pem": pem, "algorithm": algorithm, "name": VERSION}
        return status, {"signature": base64.b64encode(KEY.sign(base64.b64decode(body["data"]))).decode()}

    return answer


def test_gcp_is_asked_for_the_signature_of_the_text_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, dict[str, Any]]] = []
    with served(gcp_answers(asked)) as endpoint:
        signer = gcp(monkeypatch, endpoint)
        note = sign_checkpoint(CHECKPOINT, signer)
        assert open_checkpoint(note, signer.verifier_key()) == CHECKPOINT
    data = base64.b64encode(CHECKPOINT.to_text().encode()).decode()
    assert ("POST", f"/{VERSION}:asymmetricSign", {"data": data}) in asked
    assert ("GET", f"/{VERSION}/publicKey", {}) in asked


def test_a_gcp_key_for_another_algorithm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        served(gcp_answers([], "EC_SIGN_P256_SHA256")) as endpoint,
        pytest.raises(KmsError, match="is for EC_SIGN_P256_SHA256, and a ledger needs EC_SIGN_ED25519"),
    ):
        gcp(monkeypatch, endpoint).verifier_key()


@pytest.mark.parametrize(("status", "kind"), [(403, KmsError), (503, KmsUnavailableError)])
def test_what_gcp_refuses_is_said_with_its_status(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[KmsError]
) -> None:
    with served(gcp_answers([], status=status)) as endpoint, pytest.raises(kind, match=str(status)) as caught:
        gcp(monkeypatch, endpoint).verifier_key()
    assert type(caught.value) is kind


def test_gcp_that_does_not_answer_may_do_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(gcp_answers([])) as endpoint:
        pass
    with pytest.raises(KmsUnavailableError, match=r"gcpkms:.*cannot be asked"):
        gcp(monkeypatch, endpoint).verifier_key()


@pytest.mark.parametrize("reference", ["awskms:///", "awskms://host/key", "gcpkms://", "gcpkms:projects/p"])
def test_a_reference_that_is_none_is_refused(reference: str) -> None:
    settings = Settings(_env_file=None, ledger_signing_key=reference, ledger_signing_key_file=None)
    with pytest.raises(ConfigurationError, match=r"LEDGER_SIGNING_KEY is malformed.*is no reference to a key"):
        load_signing_keys(settings)


def test_a_reference_stands_where_a_key_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"awskms:///{ARN}\n")
    with served(aws_answers([])) as endpoint:
        aws(monkeypatch, endpoint)
        settings = Settings(
            _env_file=None, ledger_signing_key=None, ledger_signing_key_file=file, ledger_name="other.example/audit"
        )
        (signer,) = load_signing_keys(settings)
        assert signer.name == signer_of(f"awskms:///{ARN}", settings).name == "other.example/audit"
        assert load_verifier_key(settings) == signer.verifier_key()
