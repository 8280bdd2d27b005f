r"""Texts that look alike: blanks, invisible characters and hyphens, of which Unicode has many.

>>> stripped("\ufeff A-1001\u00a0")
'A-1001'
>>> alike("a 1001") == alike("A\u2011\u200b1001")
True
"""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "alike",
    "alike_number",
    "invisible_in",
    "stripped",
    "with_plain_hyphens",
    "without_marks",
]

_HYPHENS = frozenset({"\u2043", "\u2212", "\u02d7", "\u207b", "\u208b"})
"""Hyphen bullet and minus signs, which Unicode does not count among its dashes."""
_INVISIBLE = frozenset({"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u2800", "\u3164"})
"""Characters without a picture, which Unicode does not count among its formats."""
_NUMBER = re.compile(r"0*([0-9]+?)(?:\.0*)?")
_ZEROS = re.compile(r"0+(?=[^0])")


def _is_invisible(character: str) -> bool:
    """Tell a zero-width space, a direction mark, a soft hyphen, a variation selector, a BOM."""
    return (
        unicodedata.category(character) == "Cf"
        or character in _INVISIBLE
        or "\ufe00" <= character <= "\ufe0f"
    )


def _is_hyphen(character: str) -> bool:
    return unicodedata.category(character) == "Pd" or character in _HYPHENS


def stripped(text: str) -> str:
    """Take blanks and invisible characters off both ends."""
    if text.isascii():
        return text.strip()
    start, end = 0, len(text)
    while start < end and (text[start].isspace() or _is_invisible(text[start])):
        start += 1
    while start < end and (text[end - 1].isspace() or _is_invisible(text[end - 1])):
        end -= 1
    return text[start:end]


def invisible_in(text: str) -> str | None:
    """Name the first invisible character, such as `U+200B ZERO WIDTH SPACE`; None: there is none.

    A blank that is not the usual one counts too: nobody sees the difference.
    """
    if text.isascii():
        return None
    for one in text:
        if _is_invisible(one) or (one.isspace() and one > "\x7f"):
            return f"U+{ord(one):04X} {unicodedata.name(one, 'control character')}"
    return None


def without_marks(text: str) -> str:
    """Leave invisible characters out."""
    return text if text.isascii() else "".join(one for one in text if not _is_invisible(one))


def with_plain_hyphens(text: str) -> str:
    """Write hyphens and dashes of all kinds as the one of the keyboard."""
    if text.isascii():
        return text
    return "".join("-" if _is_hyphen(one) else one for one in text)


def alike(identity: str) -> str:
    """Fold an identity: equal results look alike to a person.

    Case, blanks, invisible characters, hyphens, and wide or otherwise styled characters make no
    difference. `A-1 001` is `a1001`.
    """
    plain = identity
    if not identity.isascii():
        plain = with_plain_hyphens(without_marks(unicodedata.normalize("NFKC", identity)))
    return "".join(plain.replace("-", "").split()).casefold()


def alike_number(identity: str) -> str:
    """Fold as `alike` does, and undo what a spreadsheet does to a number: `000123`, `123.0`.

    Zeros at the begin and an empty fraction make no difference, so that an order is recognised
    that one file has as text and another as a number.
    """
    folded = alike(identity)
    number = _NUMBER.fullmatch(folded)
    return number[1] if number else _ZEROS.sub("", folded, count=1) if folded[:1] == "0" else folded
