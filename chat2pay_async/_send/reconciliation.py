"""Unknown outcome → look-ups → verdict: when to look, and when what was seen settles it. No I/O.

The API has no idempotency keys, so a POST whose answer was lost is looked up through the status
endpoint before anything else happens. A generator says when to look and is sent what was seen;
whoever drives it does the waiting and the asking.

**Window.** The service is assumed to apply a request, and to show it, within `settle` seconds of
our giving up. Look-ups start at once and back off; a positive answer ends them. *Absent* counts
only from a look-up that started when the window had passed. Look-ups that fail do not count; the
window then stretches, to three times its length at most, until one does.

**Verdicts.** *Applied*: the effect is there and is ours. *Absent*: explicitly, no such effect.
*Undetermined*: anything else, an effect that may not be ours included.

**Captures** go again on an early *absent*, since the service refuses a second one. It does not
after one that the gateway declined: of several captures that may have arrived, one that was not
accepted says nothing about the others until the window has passed.
"""

from __future__ import annotations

import enum
from collections.abc import Generator
from typing import Any, Final, TypeAlias

import attrs

from chat2pay_async._api import operations
from chat2pay_async._send.evidence import Evidence, Shows

__all__ = [
    "FRESH",
    "Finding",
    "Look",
    "Lookups",
    "Resolution",
    "Seen",
    "Verdict",
    "look_up",
    "settles_all",
]

STRETCH: Final = 3
"""How many windows at most until an answer counts."""
FRESH: Final = 1.0
"""Seconds that an *absent* may be old when a POST follows it."""
SIGHTINGS: Final = 3
"""How often in a row something that may be another's is seen before that settles it: a look-up can
be misled."""
FIRST_GAP: Final = 0.25
LONGEST_GAP: Final = 2.5


class Verdict(enum.Enum):
    """What look-ups settled."""

    APPLIED = "applied"
    """The effect is there, and it is ours."""
    ABSENT = "absent"
    """There is no such effect."""
    UNDETERMINED = "undetermined"
    """It can't be told."""


@attrs.frozen
class Resolution:
    """How a pending call was settled: `client.resolve`'s result."""

    verdict: Verdict
    result: Any = None
    """What the call would have returned, where it was applied."""


@attrs.frozen
class Look:
    """Look now, or at this time if it lies ahead (on the clock that windows are measured on)."""

    at: float


@attrs.frozen
class Seen:
    """What a look-up brought."""

    started: float
    evidence: Evidence


@attrs.frozen
class Finding:
    """How look-ups ended."""

    verdict: Verdict
    evidence: Evidence
    waited: bool = True
    """Whether the window had passed, so that nothing more is to come."""


Lookups: TypeAlias = Generator[Look, Seen, Finding]

# The service itself refuses a second capture, and a second cancellation; but not a capture after
# one that the gateway declined.
_REFUSED_TWICE = frozenset({operations.CAPTURE_PAYMENT.name, operations.CANCEL_PAYMENT_LINK.name})


def settles_all(result: Any) -> bool:
    """Whether a result leaves nothing open of the same requests before it.

    What a gateway refused, or did not say that it accepted, it may accept later.
    """
    return getattr(result, "succeeded", True) is True


def look_up(  # noqa: PLR0913 - what there is to know of a lost call
    operation: str,
    lost_at: float,
    settle: float,
    now: float,
    *,
    patient: bool = False,
    several: bool = False,
) -> Lookups:
    """Settle a call whose last attempt ended without an answer at `lost_at`.

    Args:
        operation: The operation's name.
        lost_at: When that was; taken for now if it lies in the future.
        settle: The window's length, in seconds.
        now: The time.
        patient: Whether *absent* is to be the last word. A capture may be sent again before the
            window has passed, since the service refuses a second one; but that it failed can't
            be said before.
        several: Whether more than one of the call's requests may have arrived. Then a refusal
            by the gateway may be the answer to one, and another, still on its way, be accepted.

    Yields:
        When to look next; expects what was seen.

    Returns:
        The verdict, with the answer that it rests on.
    """
    opened = min(lost_at, now)
    # Where the window has passed already, look-ups that fail still get as long.
    closes, latest = opened + settle, max(opened, now - settle) + STRETCH * settle
    gap, at, sightings = FIRST_GAP, now, 0
    while True:
        seen = yield Look(at)
        shows, waited = seen.evidence.shows, seen.started >= closes
        early = several and operation in _REFUSED_TWICE and not waited
        if shows is Shows.OURS and (settles_all(seen.evidence.result) or not early):
            return Finding(Verdict.APPLIED, seen.evidence)
        if shows is Shows.ABSENT and (waited or (operation in _REFUSED_TWICE and not patient)):
            return Finding(Verdict.ABSENT, seen.evidence, waited)
        sightings = sightings + 1 if waited and shows is Shows.OTHER else 0
        if sightings == SIGHTINGS or seen.started >= latest:
            return Finding(Verdict.UNDETERMINED, seen.evidence)
        if sightings == 1:
            gap = FIRST_GAP
        # One look falls on the window's end exactly, and one on the latest moment.
        edge = closes if not waited else latest
        at = min(max(seen.started + gap, at), edge)
        gap = min(2 * gap, LONGEST_GAP)
