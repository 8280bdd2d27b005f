"""Cancellation at each suspension of a call; `tests/acceptance` has all kinds of all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cancellation import STORIES, every_journalled_step, every_step
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


@pytest.mark.parametrize("is_native", [False, True], ids=["scope", "task"])
async def test_the_journal_of_a_call_cancelled_at_any_suspension_contradicts_nobody(
    tmp_path: Path, anyio_backend_name: str, *, is_native: bool
) -> None:
    if is_native and anyio_backend_name != "asyncio":
        pytest.skip("trio has no such way to cancel")
    story, path = "lost, absent, then applied", tmp_path / "payments.db"
    cases = await every_journalled_step("create", story, path, is_native=is_native)
    assert len(cases) > 20
    assert {case.state for case in cases} >= {None, "sent", "applied", "failed"}
    assert not any(case.is_unknown for case in cases)
