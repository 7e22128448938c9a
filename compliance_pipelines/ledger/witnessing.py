"""Having the newest checkpoint cosigned by the witnesses, beside sealing and never in its way.

Here: who is asked, and where cosignatures are put. Not here: the request (witness_client.py), what is missing for how
long (outside.py).

    audit-ledger/checkpoint    gets the lines of the witnesses beside the ledger's own, if it is still the one
    audit-ledger/cosigned      the newest checkpoint that as many witnesses cosigned as must agree

Sealing publishes a checkpoint with the ledger's signature alone and goes on. Whoever is asked here is asked about the
newest one only: it contains all before. A cosignature that came too late to stand in `checkpoint`, because the next one
is there already, still counts in `cosigned` if it makes up the quorum; else the witness is asked about the next one.
Nothing is locked: each object is replaced if it is still the one that was read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.asking import Deadline, ask_all
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.checkpoint import MalformedNoteError
from compliance_pipelines.ledger.cosignatures import lines_of, with_cosignatures
from compliance_pipelines.ledger.errors import MalformedCheckpointError
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY, MOST_NOTE_BYTES, opened, read_chain
from compliance_pipelines.ledger.tile_proofs import TileTree
from compliance_pipelines.ledger.witness_client import (
    Submission,
    WitnessAheadError,
    WitnessContradictsError,
    ask_witness,
)
from compliance_pipelines.ledger.witnesses import load_policy
from compliance_pipelines.object_store.port import (
    ObjectExistsError,
    ObjectMissingError,
    ObjectReplacedError,
    OversizedObjectError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from compliance_pipelines.ledger.checkpoint import Checkpoint, NoteSignature, VerifierKey
    from compliance_pipelines.ledger.witnesses import Policy, Witness
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services

_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class SignedHead:
    """A checkpoint of the cold store with what the witnesses say in it.

    Attributes:
        checkpoint: what it says, signed by the ledger's key.
        note: the whole note.
        version: what the store calls it.
        times: when each witness cosigned it, by the witness's name.
        bad: witnesses whose line is not their signature, and how.
        agreed: whether as many cosigned as must agree.
    """

    checkpoint: Checkpoint
    note: str
    version: str
    times: Mapping[str, datetime]
    bad: Mapping[str, str]
    agreed: bool

    @property
    def text(self) -> str:
        """What is signed and cosigned."""
        return self.note.rpartition("\n\n")[0] + "\n"


@dataclass(frozen=True)
class Witnessed:
    """What came of asking.

    Attributes:
        policy: whose answers count.
        newest: the checkpoint that was asked about, with what it has now; None where nothing was published yet.
        problems: why a witness did not cosign it, by the witness's name.
        contradictions: those of the problems that say that the witness has seen another ledger.
    """

    policy: Policy
    newest: SignedHead | None
    problems: Mapping[str, str] = field(default_factory=dict)
    contradictions: Mapping[str, str] = field(default_factory=dict)


def read_signed_head(store: ObjectStore, object_key: str, key: VerifierKey, policy: Policy) -> SignedHead | None:
    """A checkpoint of the cold store; None where there is none.

    Args:
        store: the cold store.
        object_key: of the checkpoint.
        key: one of the ledger's.
        policy: whose cosignatures are looked for.

    Raises:
        MalformedCheckpointError: the object holds none.
        ForeignCheckpointError: it is not validly signed by the key.
        ObjectStoreError: the store failed.
    """
    where = store.locate(object_key)
    try:
        found = store.read_versioned(object_key, MOST_NOTE_BYTES)
    except ObjectMissingError:
        return None
    except OversizedObjectError as error:
        raise MalformedCheckpointError(f"{where} was altered: {error}") from error
    return _head(opened(found.data, read_chain(store, key), where), found.data.decode(), found.version, policy)


def _head(checkpoint: Checkpoint, note: str, version: str, policy: Policy) -> SignedHead:
    times, bad, agreed = policy.seen(note)
    return SignedHead(checkpoint, note, version, times, bad, agreed)


def ask_witnesses(services: Services) -> Witnessed | None:
    """Have the newest checkpoint cosigned by every witness that has not done so; None where there is no policy.

    All are asked at once, for LEDGER_OUTSIDE_TIMEOUT_SECONDS at most. What a witness says never raises: it is told.

    Raises:
        ConfigurationError: LEDGER_WITNESSES cannot be used, or is another ledger's.
        LedgerError: a checkpoint of the cold store is none, or not signed by the key.
        ObjectStoreError: the store failed.
    """
    policy = load_policy(services.settings)
    if policy is None:
        return None
    store, key = services.store, services.verifier_key
    policy.require_log(key)
    newest = read_signed_head(store, CHECKPOINT_KEY, key, policy)
    if newest is None:
        return Witnessed(policy, None)
    before = read_signed_head(store, COSIGNED_KEY, key, policy)
    asked = [each for each in policy.witnesses if each.url is not None and each.name not in newest.times]
    added: list[NoteSignature] = []
    problems: dict[str, str] = {}
    contradictions: dict[str, str] = {}
    for name, answer in _answers(services, newest, before, asked).items():
        if not isinstance(answer, BaseException):
            added.append(answer)
        elif not isinstance(answer, ComplianceError):
            raise answer
        elif isinstance(answer, WitnessAheadError) and _size_now(store, key, policy) >= answer.size:
            problems[name] = "somebody else asked it about a newer checkpoint meanwhile"
        elif isinstance(answer, (WitnessContradictsError, WitnessAheadError)):
            problems[name] = contradictions[name] = str(answer)
        else:
            problems[name] = str(answer)
    if added:
        newest = _added(store, key, policy, newest, added)
    if newest.agreed:
        _keep(store, key, policy, newest)
    return Witnessed(policy, newest, problems, contradictions)


def _answers(
    services: Services, newest: SignedHead, before: SignedHead | None, asked: Sequence[Witness]
) -> Mapping[str, NoteSignature | BaseException]:
    seconds = services.settings.ledger_outside_timeout_seconds
    deadline = Deadline(seconds)
    checkpoint = newest.checkpoint
    tree = _SharedTree(TileTree(services.store, checkpoint.size, checkpoint.root))
    sent = Submission(checkpoint, newest.text, newest.note, tree)
    questions: dict[str, Callable[[], NoteSignature]] = {}
    for witness in asked:
        known = 0 if before is None or witness.name not in before.times else before.checkpoint.size
        questions[witness.name] = partial(
            ask_witness, witness, sent, min(known, checkpoint.size), deadline, services.clock
        )
    return ask_all(questions, seconds)


class _SharedTree:
    """A tree for threads that ask at the same time."""

    def __init__(self, tree: TileTree) -> None:
        self._tree = tree
        self._lock = Lock()

    def consistency_path(self, old_size: int) -> Sequence[bytes]:
        with self._lock:
            return self._tree.consistency_path(old_size)


def _size_now(store: ObjectStore, key: VerifierKey, policy: Policy) -> int:
    head = read_signed_head(store, CHECKPOINT_KEY, key, policy)
    return 0 if head is None else head.checkpoint.size


def _added(
    store: ObjectStore, key: VerifierKey, policy: Policy, head: SignedHead, added: Sequence[NoteSignature]
) -> SignedHead:
    """The checkpoint with the cosignatures; in the cold store, too, unless a newer one is there already."""
    current: SignedHead | None = head
    for _ in range(_ATTEMPTS):
        if current is None or current.text != head.text:
            break
        try:
            note = with_cosignatures(current.note, added)
        except MalformedNoteError as error:
            raise MalformedCheckpointError(f"{store.locate(CHECKPOINT_KEY)}: {error}") from error
        try:
            store.replace(CHECKPOINT_KEY, note.encode(), current.version)
        except (ObjectReplacedError, ObjectMissingError):
            current = read_signed_head(store, CHECKPOINT_KEY, key, policy)
        else:
            return _head(head.checkpoint, note, "", policy)
    return _head(head.checkpoint, with_cosignatures(head.note, added), "", policy)


def _keep(store: ObjectStore, key: VerifierKey, policy: Policy, head: SignedHead) -> None:
    """Put the checkpoint in the place of an older one that was cosigned, or beside whose lines it has more."""
    for _ in range(_ATTEMPTS):
        there = read_signed_head(store, COSIGNED_KEY, key, policy)
        note = head.note
        if there is not None and there.text == head.text:
            keys = [witness.key for witness in policy.witnesses if witness.name in head.times]
            note = with_cosignatures(there.note, list(lines_of(head.note, keys)))
        elif there is not None and there.agreed and there.checkpoint.size >= head.checkpoint.size:
            return
        if there is not None and there.note == note:
            return
        try:
            if there is None:
                store.put_bytes(COSIGNED_KEY, note.encode())
            else:
                store.replace(COSIGNED_KEY, note.encode(), there.version)
        except (ObjectExistsError, ObjectReplacedError, ObjectMissingError):
            continue
        return
