"""The plugin that keeps collection the same in every process, and each test in one framework."""

from __future__ import annotations

import attrs
import pytest

LONGEST_ID = 40


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a parameter in the same few words in every process, so that workers agree on tests."""
    name = getattr(val, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(val, str) and len(val) > LONGEST_ID:
        return val[:LONGEST_ID]
    return type(val).__name__ if attrs.has(type(val)) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a test that each worker would name differently, or that two plugins would run."""
    if " at 0x" in item.nodeid:
        raise pytest.UsageError(f"{item.nodeid}: an id shows an object's address; pass ids=")
    if item.get_closest_marker("anyio") and item.get_closest_marker("asyncio"):
        # pytest-asyncio would run what anyio means for trio, on asyncio, and nobody would notice.
        raise pytest.UsageError(f"{item.nodeid}: marked both anyio and asyncio; choose one")
    if "transport" in item.path.parts or item.config.getoption("--transport", None):
        # What is called `service.test` there is a port of this machine, or plays in memory.
        item.add_marker(pytest.mark.chat2pay_live)
