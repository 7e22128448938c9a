"""Ids that a person could take for other ids.

Here: what is suspicious about an id, and whether two ids look alike. Not here: which ids there are
(erasure/near_matches.py).

Erasures and holds compare ids byte for byte, so that an id which was copied with a blank, or typed with a letter of
another alphabet, finds nothing: the person is told that nothing was there, or what was to be kept is deleted.
Look-alikes are those of Unicode Technical Standard 39 (confusables.txt), as the package confusable-homoglyphs has them.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from confusable_homoglyphs.confusables import confusables_data, is_dangerous

from compliance_pipelines.base.unseen import shown_text

if TYPE_CHECKING:
    from collections.abc import Collection

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Shown as nothing, although their category says otherwise: joiners, fillers, the blank of Braille, variation selectors.
_SHOWN_AS_NOTHING: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(number) for number in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}
_AT_THE_ENDS: Final = ". "


def _prototypes() -> dict[int, str]:
    """What stands for each character that looks like another: the same text for all that look alike."""
    stands_for = {}
    for character, alike in confusables_data.items():
        if len(character) != 1 or len(alike) != 1:
            # One that many look like stands for itself, and so for them.
            continue
        other = alike[0]["c"].replace("\u200e", "")
        is_mutual = len(confusables_data.get(alike[0]["c"], ())) == 1
        stands_for[ord(character)] = min(character, other) if is_mutual else other
    return stands_for


_PROTOTYPES: Final = _prototypes()


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN or character in _SHOWN_AS_NOTHING


def is_blank(user_id: str) -> bool:
    """Whether there is nothing to see in an id."""
    return all(character.isspace() or _is_unseen(character) for character in user_id)


def suspicions(user_id: str) -> list[str]:
    """Why an id may not be the one that was meant; nothing where it looks like what it is."""
    why = []
    if user_id != user_id.strip():
        why.append("it begins or ends with white space")
    unseen = [character for character in user_id if _is_unseen(character)]
    spaces = [character for character in user_id.strip() if character.isspace() and character != " "]
    if hidden := dict.fromkeys(_named(character) for character in (*unseen, *spaces)):
        why.append(f"it has characters that nobody sees: {', '.join(hidden)}")
    visible = "".join(character for character in user_id if not _is_unseen(character))
    if unicodedata.normalize("NFC", visible) != visible:
        why.append("its accents are written as characters of their own (it is not in Unicode's form NFC)")
    elif unicodedata.normalize("NFKC", visible) != visible:
        why.append("it has characters that are another way to write others (it is not in Unicode's form NFKC)")
    looks_like = unicodedata.normalize("NFKC", visible).translate(_PROTOTYPES)
    if not visible.isascii() and (looks_like.isascii() or is_dangerous(visible, preferred_aliases=["latin"])):
        foreign = dict.fromkeys(_named(each) for each in visible if not each.isascii() and ord(each) in _PROTOTYPES)
        if foreign:
            why.append(f"it has characters that look like others: {', '.join(foreign)}")
    return why


def objection(what: str, given: str, *, as_it_is: bool) -> str | None:
    """Why an id is not taken, in words; None where it looks like what it is, or somebody says that it is meant.

    Args:
        what: is called so, as in "the user id".
        given: the id.
        as_it_is: whether somebody looked at it, and it is meant. One in which there is nothing to see nobody can mean.
    """
    if is_blank(given):
        return f"there is nothing to see in {what} {shown_text(given)!r}: nobody is called so"
    if not as_it_is and (why := suspicions(given)):
        return f"{what} {shown_text(given)!r} may not be the one that is meant: {'; '.join(why)}; if it is: --as-it-is"
    return None


def _named(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"


class Likeness:
    """What looks like a person's ids.

    Alike are ids that differ in case, in form (NFC, NFKC), in white space or dots at their ends, in characters that
    nobody sees, or in characters that look the same.

    Args:
        user_ids: the person's; none of them is another's look-alike.
    """

    def __init__(self, user_ids: Collection[str]) -> None:
        self._user_ids = frozenset(user_ids)
        self._looks = {look for user_id in user_ids for look in _looks(user_id)}

    def of(self, other: str) -> bool:
        """Whether somebody could take this id for one of the person's, which it is not."""
        return other not in self._user_ids and not self._looks.isdisjoint(_looks(other))


def _looks(user_id: str) -> set[str]:
    """What an id looks like, with case and without: I looks like l, and i does not."""
    text = user_id
    if not (user_id.isascii() and user_id.isprintable()):
        normal = unicodedata.normalize("NFKC", user_id)
        text = "".join(character for character in normal if not _is_unseen(character))
    return {_skeleton(text), _skeleton(text.casefold())}


def _skeleton(text: str) -> str:
    seen = text.translate(_PROTOTYPES)
    if not seen.isascii():
        # Once more, as what stands for a character may be written otherwise, too.
        seen = unicodedata.normalize("NFKC", seen).translate(_PROTOTYPES)
    return " ".join(seen.split()).strip(_AT_THE_ENDS)


def variants(user_id: str) -> list[str]:
    """Some ids that look like this one, for a place that can be asked for ids and does not list them."""
    visible = "".join(character for character in user_id if not _is_unseen(character))
    trimmed = visible.strip().strip(_AT_THE_ENDS)
    forms = [unicodedata.normalize(form, trimmed) for form in ("NFC", "NFD", "NFKC")]
    written = [trimmed, *forms, forms[-1].translate(_PROTOTYPES)]
    cased = [change(text) for text in written for change in (str, str.lower, str.upper, str.title)]
    padded = [f"{trimmed} ", f" {trimmed}", f"{trimmed}."]
    return [each for each in dict.fromkeys([*cased, *padded]) if each and each != user_id]
