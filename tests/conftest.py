"""Event loops for the tests: the real three, and two whose time jumps instead of passing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trio.testing
import uvloop
from hypothesis import HealthCheck, settings
from virtual_time import VirtualLoop

pytest_plugins = ["back_off", "collection", "over_httpx2"]

# `--hypothesis-profile=thorough` where there is time. Both are derandomized: a change is judged by
# what it changes. `--hypothesis-profile=search` looks for what nobody has tried yet.
hurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", hurried, max_examples=20, derandomize=True)
settings.register_profile("thorough", hurried, max_examples=300, derandomize=True)
settings.register_profile("search", hurried, max_examples=4000)
settings.load_profile("quick")

REAL_LOOPS = ("asyncio", "uvloop", "trio")
VIRTUAL_LOOPS = ("asyncio-virtual", "trio-virtual")


def _options(name: str) -> tuple[str, Mapping[str, Any]]:
    match name:
        case "uvloop":
            return "asyncio", {"use_uvloop": True}
        case "asyncio-virtual":
            return "asyncio", {"loop_factory": VirtualLoop}
        case "trio-virtual":
            return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
        case _:
            return name, {}


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    """The loop of a test marked `anyio`; those marked `virtual_time` too run on jumping time."""
    return _options(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each async test on the loops that it can tell apart; with `--all-loops`, on every one."""
    if "anyio_backend" not in metafunc.fixturenames:
        return
    test, asked = metafunc.definition, metafunc.config.getoption
    on_sockets = "transport" in test.path.parts
    loops: tuple[str, ...] = ("asyncio", "trio")
    if test.get_closest_marker("virtual_time") is not None:
        loops = VIRTUAL_LOOPS
    elif asked("--all-loops") or (asked("--uvloop") and on_sockets):
        loops = REAL_LOOPS
    if test.get_closest_marker("one_loop") is not None and not asked("--all-loops"):
        loops = loops[:1]
    metafunc.parametrize("anyio_backend", loops, indirect=True)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what is marked `asyncio`, as users mark their tests, on uvloop too."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the suite be run over another transport, and the acceptance tests at another size."""
    parser.addoption("--transport", choices=["fast"], help="what all clients exchange over")
    parser.addoption("--all-loops", action="store_true", help="run each async test on all loops")
    parser.addoption("--uvloop", action="store_true", help="run what has sockets on uvloop, too")
    parser.addoption("--scale", type=int, default=1, help="times as many calls, for acceptance")
    parser.addoption("--seed", type=int, default=7, help="of faults and kills, for acceptance")


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> int:
    """Return how many times as many calls as usual an acceptance test makes."""
    return int(pytestconfig.getoption("--scale"))


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of an acceptance test's faults and kills."""
    return int(pytestconfig.getoption("--seed"))


def pytest_configure(config: pytest.Config) -> None:
    """Lead every client over the transport that was asked for."""
    if config.getoption("--transport") == "fast":
        from over_fast import OverFast  # noqa: PLC0415 - coverage is to see the package's import

        config.pluginmanager.register(OverFast())
