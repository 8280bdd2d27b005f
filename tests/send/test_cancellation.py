"""Cancellation at each suspension of a call; `tests/acceptance` has all kinds of all of it."""

from __future__ import annotations

import pytest
from cancellation import STORIES, every_step
from moody_service import CALLS

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.virtual_time,
    pytest.mark.usefixtures("full_back_off"),
]

SHORT = [name for name in STORIES if not name.startswith("lost")]


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_cancelled_at_any_suspension_was_not_sent_or_is_kept_until_it_is_settled(
    kind: str,
) -> None:
    cases = [case for story in SHORT for case in await every_step(kind, story)]
    assert len(cases) > 50


async def test_a_call_cancelled_while_its_outcome_is_looked_up_is_kept_until_it_is_settled() -> (
    None
):
    cases = await every_step("create", "lost, absent, then applied", is_contended=True)
    assert len(cases) > 50
