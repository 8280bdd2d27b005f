"""Mocks in the places that tools patch: they would not see what is sent below those places.

A mock is known by the library that it comes from. What traces requests in production (Sentry,
OpenTelemetry, Elastic, New Relic) patches the same places, and is none; a mock below it counts, and
so does one above it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from chat2pay_async.errors import ConfigurationError

__all__ = ["refuse_mocks"]

LIBRARIES: Final = frozenset({"aioresponses", "mock", "pook", "pytest_httpx", "respx", "vcr"})
"""The modules that mocks come from, beside `unittest.mock`."""

PLACES: Final = (
    ("aiohttp", "ClientSession", "_request"),
    ("httpx", "AsyncClient", "send"),
    ("httpx", "AsyncClient", "_transport_for_url"),
    ("httpx", "AsyncHTTPTransport", "handle_async_request"),
    ("httpcore", "AsyncConnectionPool", "handle_async_request"),
    ("httpcore", "AsyncHTTPConnection", "handle_async_request"),
)
"""The places that mocks patch: module, class, method."""


def refuse_mocks() -> None:
    """Refuse to send for real where a mock is to see what is sent.

    Raises:
        ConfigurationError: There is one.
    """
    classes = [getattr(sys.modules[module], name) for module, name, _ in PLACES]
    # Not by `getattr`: it makes a new object of what wrapt has wrapped.
    methods = [one.__dict__.get(name) for one, (_, _, name) in zip(classes, PLACES, strict=True)]
    found = _mock_among(*classes, *methods)
    if found:
        raise ConfigurationError(
            f'{found}, and would not see what transport="aiohttp" sends, which works below it: '
            "leave the transport out where requests are mocked"
        )


@lru_cache(maxsize=8)
def _mock_among(*patched: object) -> str:
    """Name a mock, if there is one; the same objects are looked at once."""
    for (module, owner, name), one in zip(PLACES * 2, patched, strict=True):
        for library in filter(None, map(_mock_library_of, _layers(one))):
            return f"{module}.{owner}.{name} is patched by {library}"
    return ""


def _layers(patched: object) -> Iterator[object]:
    """Go through what stands in a place, and all that it wraps."""
    to_see, seen = [patched], set[int]()
    while to_see:
        one: Any = to_see.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        # `mock` is where a function that `autospec=True` made keeps its mock.
        to_see += [getattr(one, "__wrapped__", None), getattr(one, "mock", None)]
        for cell in getattr(one, "__closure__", None) or ():
            with contextlib.suppress(ValueError):  # it is empty
                to_see += [cell.cell_contents] * callable(cell.cell_contents)


def _mock_library_of(one: Any) -> str:
    """Name the library that a mock comes from; empty for what is none."""
    # Not by a function's `__module__`: `functools.wraps` copies it.
    modules = [kind.__module__ for kind in type(one).__mro__]
    modules.append(str(getattr(one, "__globals__", {}).get("__name__")))
    for module in modules:
        if module == "unittest.mock" or module.partition(".")[0] in LIBRARIES:
            return module
    return ""
