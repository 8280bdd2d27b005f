"""The back-off without its jitter."""

from __future__ import annotations

import random

import pytest


@pytest.fixture
def full_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the jitter out: each back-off is as long as it can be."""

    def longest(_low: float, high: float) -> float:
        return high

    monkeypatch.setattr(random, "uniform", longest)
