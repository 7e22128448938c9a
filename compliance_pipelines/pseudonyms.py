"""What a person is called in records that others read: the user id itself, or a keyed pseudonym of it.

Here: the pseudonym and the names under which records of a person may stand. Not here: any record.

A pseudonym is an HMAC (RFC 2104) with SHA-256: without the key nobody can try out user ids against it, which a bare
hash would allow. It stays personal data (GDPR Article 4(5)) as long as somebody has the key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings

PREFIX: Final = "hmac-sha256:"
_CONTEXT: Final = b"compliance-pipelines/subject/v1\0"
_SHORTEST_KEY_BYTES: Final = 32
# Of a user id of one letter a text may be full, and each replacement makes it 75 characters longer.
_MOST_REPLACED: Final = 20


def pseudonym(user_id: str, key: bytes) -> str:
    """`hmac-sha256:` and 64 hexadecimal digits, the same for the same user id and key."""
    return PREFIX + hmac.new(key, _CONTEXT + user_id.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Subjects:
    """How people are named in audit entries.

    Attributes:
        key: of the pseudonyms; None where there is none.
        pseudonymous: whether new entries carry pseudonyms.
    """

    key: bytes | None = field(default=None, repr=False)
    pseudonymous: bool = False

    def name(self, user_id: str) -> str:
        """What a new entry calls this person, or any other id that may tell who it is."""
        return pseudonym(user_id, self.key) if self.pseudonymous and self.key is not None else user_id

    def names(self, user_id: str) -> tuple[str, ...]:
        """Every name under which entries of this person may stand: older ones may have been written otherwise."""
        return (user_id,) if self.key is None else (user_id, pseudonym(user_id, self.key))

    def scrub(self, text: str, *user_ids: str) -> str:
        """A text for an entry with the user ids replaced wherever they stand; one that is full of them is withheld."""
        wanted = [re.escape(user_id) for user_id in sorted(user_ids, key=len, reverse=True) if user_id]
        if not self.pseudonymous or not wanted:
            return text
        # All at once: an id may stand in the pseudonym of another. The longest counts where one is a part of another.
        pattern = re.compile("|".join(wanted))
        if sum(1 for _ in pattern.finditer(text)) > _MOST_REPLACED:
            return f"(a text of {len(text)} characters, withheld because it names the person)"
        return pattern.sub(lambda found: self.name(found[0]), text)


def is_pseudonym(name: str) -> bool:
    """Whether a name in an entry is a pseudonym."""
    digits = name.removeprefix(PREFIX)
    return name.startswith(PREFIX) and len(digits) == hashlib.sha256().digest_size * 2


def subjects_from_settings(settings: Settings) -> Subjects:
    """The naming that GDPR_SUBJECT_PSEUDONYMS and GDPR_PSEUDONYM_KEY ask for.

    Raises:
        ConfigurationError: pseudonyms are asked for without a key, or the key is shorter than 32 bytes.
    """
    secret = settings.gdpr_pseudonym_key
    pseudonymous = settings.gdpr_subject_pseudonyms == "hmac"
    if secret is None:
        if pseudonymous:
            raise ConfigurationError(
                "GDPR_SUBJECT_PSEUDONYMS=hmac needs a key: set GDPR_PSEUDONYM_KEY to at least 32 random characters "
                "(such as `openssl rand -hex 32` prints) and keep a copy: without it nobody can be found again"
            )
        return Subjects()
    key = secret.get_secret_value().encode()
    if len(key) < _SHORTEST_KEY_BYTES:
        raise ConfigurationError(
            f"GDPR_PSEUDONYM_KEY has {len(key)} bytes; user ids could be guessed with fewer than {_SHORTEST_KEY_BYTES}"
        )
    return Subjects(key, pseudonymous)
