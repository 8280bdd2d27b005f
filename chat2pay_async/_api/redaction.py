"""Masking what could be a phone or card number, in texts that are not ours."""

from __future__ import annotations

import re

__all__ = ["redact"]

# A phone number has 7 digits or more, a card number at least 12, in groups of whatever kind. A
# point or slash before two digits is rather an amount's, or a date's.
_BETWEEN = r"(?: ?\((?=\d{2,4}\))|\) ?|[ -]{1,2}|[./](?=\d{3}))?"
_NUMBER = rf"\+?\d(?:{_BETWEEN}\d){{6,}}+"


def redact(text: str, identity: str = "") -> str:
    """Mask long numbers; a call's own order number or reference, its `identity`, stays."""
    # Order number 27 must not cut 27831234567 into pieces that are too short to be masked.
    own = rf"{re.escape(identity)}(?!{_BETWEEN}\d)|" if identity else ""
    return re.sub(
        own + _NUMBER,
        lambda found: found[0] if found[0] in {identity, f"+{identity}"} else "***",
        text,
    )
