"""The pytest plugin: no test moves money by mistake, and each test may have a sandbox of its own.

It comes with the package: pytest finds it, and nothing has to be switched on. The guide to it is
`docs/testing.md`.

- While pytest runs, a client connects to this machine alone. To reach another, mark a test
  `@pytest.mark.chat2pay_live`, or pass `--chat2pay-live` for all of them. Mocks answer as before.
- The fixture `chat2pay_sandbox` (extra `sandbox`) is a `SandboxFixture`. It is not async: tests of
  pytest-asyncio, of anyio on asyncio and trio, of pytest-trio, and plain ones, all use the same.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from chat2pay_async._reach import limited_to_loopback

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from chat2pay_async._pytest_sandbox import SandboxFixture
else:  # every start of pytest imports this, and few tests need a sandbox

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("chat2pay_async._pytest_sandbox"), name)


__all__ = ["SandboxFixture"]

_LIVE = "chat2pay_live"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--chat2pay-live`."""
    parser.getgroup("chat2pay").addoption(
        "--chat2pay-live",
        action="store_true",
        help="let the Chat 2 Pay clients of all tests reach every host: they may move money",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Limit all clients to this machine until pytest ends, unless told otherwise."""
    config.addinivalue_line(
        "markers",
        f"{_LIVE}: the test's Chat 2 Pay clients may reach every host: it may move money",
    )
    until_the_end = ExitStack()
    until_the_end.enter_context(limited_to_loopback(limited=not config.getoption(_LIVE)))
    config.add_cleanup(until_the_end.close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let the clients of a test that says so reach every host."""
    with ExitStack() as during_the_test:
        if item.get_closest_marker(_LIVE) is not None:
            during_the_test.enter_context(limited_to_loopback(limited=False))
        return (yield)


@pytest.fixture(scope="session")
def _chat2pay_stops() -> Iterator[Executor]:
    """Stop the tests' servers while later tests run: it takes each a fifth of a second."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - few tests need it

    with ThreadPoolExecutor(thread_name_prefix="chat2pay-stops") as stops:
        yield stops


@pytest.fixture
def chat2pay_sandbox(
    monkeypatch: pytest.MonkeyPatch, _chat2pay_stops: Executor
) -> Iterator[SandboxFixture]:
    """A Chat 2 Pay of the test's own, served on this machine: a `SandboxFixture`.

    CHAT2PAY_BASE_URL and CHAT2PAY_API_KEY lead to it, and so do clients of the code under test.
    """
    from chat2pay_async._pytest_sandbox import SandboxFixture, serve_sandbox  # noqa: PLC0415 - heavy

    serving = serve_sandbox()
    sandbox = serving.__enter__()
    monkeypatch.setenv("CHAT2PAY_BASE_URL", sandbox.url)
    monkeypatch.setenv("CHAT2PAY_API_KEY", sandbox.api_key)
    yield SandboxFixture(sandbox)
    _chat2pay_stops.submit(serving.__exit__)
