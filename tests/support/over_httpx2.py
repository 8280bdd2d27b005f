"""`--httpx2`: the suite with httpx2 in httpx's place, and httpcore2 in httpcore's."""

from __future__ import annotations

import sys

import pytest

KNOW_HTTPX = ("httpx", "httpcore", "respx", "pytest_httpx")
"""Modules that pytest's plugins have imported by then; tests import them anew."""

SKIPPED = {
    "test_a_tool_answers_what_it_sees_and_all_else_is_refused": "tells httpx2 from httpx",
    "test_pytest_httpx_answers": "its fixture came with httpx",
    "test_pytest_httpx_answers_the_default_client": "its fixture came with httpx",
    "test_pytest_httpx_is_refused": "its fixture came with httpx",
    "test_the_environment_is_read_as_httpx_reads_it": "httpx2 knows networks in NO_PROXY",
}
"""Reasons for what is not run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the suite be run over httpx2."""
    parser.addoption("--httpx2", action="store_true", help="put httpx2 in httpx's place")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Put it there before anything of the package is imported."""
    if not config.getoption("--httpx2"):
        return
    for name in list(sys.modules):
        if name.partition(".")[0] in KNOW_HTTPX:
            del sys.modules[name]
    import httpx2  # noqa: PLC0415 - only here is it needed

    httpx2.alias_httpx()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is about httpx alone, with the reason."""
    if config.getoption("--httpx2"):
        for item in items:
            reason = SKIPPED.get(getattr(item, "originalname", item.name))
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
