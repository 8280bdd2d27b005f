"""Mocks in the places that tools patch: they would not see what is sent below those places.

A mock is known by the library that it comes from. What traces requests in production (Sentry,
OpenTelemetry, Elastic, New Relic) patches the same places, and is none; a mock below it counts, and
so does one above it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Final

import httpcore
import httpx

from chat2pay_async.errors import ConfigurationError

__all__ = ["patched_places", "refuse_mocks"]

LIBRARIES: Final = frozenset({"aioresponses", "mock", "pook", "pytest_httpx", "respx", "vcr"})
"""The modules that mocks come from, beside `unittest.mock`."""

NAMES: Final = (
    "aiohttp.ClientSession",
    "aiohttp.ClientSession._request",
    "httpx.AsyncClient",
    "httpx.AsyncClient.send",
    "httpx.AsyncClient._transport_for_url",
    "httpx.AsyncHTTPTransport",
    "httpx.AsyncHTTPTransport.handle_async_request",
    "httpcore.AsyncConnectionPool.handle_async_request",
    "httpcore.AsyncHTTPConnection.handle_async_request",
)
"""The places that mocks patch."""


def patched_places() -> tuple[object, ...]:
    """Look at what stands in the places that mocks patch; every exchange does, so it is quick."""
    # Not by `getattr`, which makes a new object of what wrapt has wrapped; `get`, since a class may
    # be a mock itself.
    # Somebody who mocks aiohttp may have sent through it before; here it need not be installed.
    session: Any = getattr(sys.modules.get("aiohttp"), "ClientSession", None)
    client, transport = httpx.AsyncClient, httpx.AsyncHTTPTransport
    return (
        session,
        getattr(session, "__dict__", {}).get("_request"),
        client,
        client.__dict__.get("send"),
        client.__dict__.get("_transport_for_url"),
        transport,
        transport.__dict__.get("handle_async_request"),
        httpcore.AsyncConnectionPool.__dict__.get("handle_async_request"),
        httpcore.AsyncHTTPConnection.__dict__.get("handle_async_request"),
    )


def refuse_mocks(places: tuple[object, ...]) -> None:
    """Refuse to send for real where a mock is to see what is sent.

    Args:
        places: What stands in them.

    Raises:
        ConfigurationError: One of them is a mock, or wraps one.
    """
    for name, patched in zip(NAMES, places, strict=True):
        for library in filter(None, map(_mock_library_of, _layers(patched))):
            raise ConfigurationError(
                f"{name} is patched by {library}, and would not see what "
                'transport="fast" sends, which works below it: leave the transport out where '
                "requests are mocked"
            )


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
