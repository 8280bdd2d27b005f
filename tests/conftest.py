"""Event loops for the tests: the real three, and two whose time jumps instead of passing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import trio.testing
from virtual_time import VirtualLoop

REAL_LOOPS = ("asyncio", "uvloop", "trio")
VIRTUAL_LOOPS = ("asyncio-virtual", "trio-virtual")
LONGEST_ID = 40


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
    """Run each async test on every loop."""
    if "anyio_backend" in metafunc.fixturenames:
        virtual = metafunc.definition.get_closest_marker("virtual_time") is not None
        loops = VIRTUAL_LOOPS if virtual else REAL_LOOPS
        metafunc.parametrize("anyio_backend", loops, indirect=True)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a parameter in the same few words in every process, so that workers agree on tests."""
    name = getattr(val, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(val, str) and len(val) > LONGEST_ID:
        return val[:LONGEST_ID]
    return type(val).__name__ if attrs.has(type(val)) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse an id that shows an object's address: it would be another in each worker."""
    if " at 0x" in item.nodeid:
        raise pytest.UsageError(f"name the parameters of {item.nodeid}: one shows its address")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the suite be run over another engine, and the acceptance tests at another size."""
    parser.addoption("--engine", choices=["aiohttp"], help="what all clients exchange over")
    parser.addoption("--scale", type=int, default=1, help="times as many calls, for acceptance")
    parser.addoption("--seed", type=int, default=7, help="of faults and kills, for acceptance")


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> int:
    """How many times as many calls as usual an acceptance test makes."""
    return int(pytestconfig.getoption("--scale"))


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of an acceptance test's faults and kills."""
    return int(pytestconfig.getoption("--seed"))


def pytest_configure(config: pytest.Config) -> None:
    """Lead every client over the engine that was asked for."""
    if config.getoption("--engine") == "aiohttp":
        from engines import OverAiohttp  # noqa: PLC0415 - coverage is to see the package's import

        config.pluginmanager.register(OverAiohttp())
