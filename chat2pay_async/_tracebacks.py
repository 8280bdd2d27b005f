"""Tracebacks without the frames that hold secrets.

Tools send the local variables of every frame of a traceback away, or print them: Sentry, rich,
loguru, structlog. In an HTTP library's frames these are headers with the API key, and bodies with
phone numbers; in SQLite's callers, the rows of a journal; in our own functions, what was passed to
them. Nothing there can be held in an object of ours, so these frames are left out of an exception
before it reaches its caller. Its type, its text and the frames of users' own hooks and transports
stay.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, TypeVar, cast

__all__ = ["hide_frames", "hiding_arguments", "hiding_fields", "hiding_frames"]

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound=type)

_HTTP_LIBRARIES: Final = frozenset(
    {"aiohttp", "h11", "h2", "hpack", "httpcore", "httpcore2", "httpx", "httpx2", "hyperframe"}
)
_BELOW: Final = frozenset(
    {
        *(
            "aiohappyeyeballs",
            "anyio",
            "asyncio",
            "codecs",
            "httpx_aiohttp",
            "multidict",
            "selectors",
        ),
        *("socket", "socksio", "sqlite3", "ssl", "trio", "uvloop", "yarl"),
    }
)
_OURS: Final = (
    "chat2pay_async._api.",
    "chat2pay_async._bulk.",
    "chat2pay_async._callbacks.",
    "chat2pay_async._config",
    "chat2pay_async._files.",
    "chat2pay_async._journal.",
    "chat2pay_async._send.flights",
    "chat2pay_async._send.idempotency",
    "chat2pay_async._raw_client",
    "chat2pay_async._recovery",
    "chat2pay_async._send.stored",
    "chat2pay_async._tracebacks",
    "chat2pay_async._transport.",
)
_TAKING_SECRETS: Final = set[CodeType]()
"""The functions whose arguments are hidden."""
_QUOTED: Final = re.compile(r"""(bytearray\()?(?<!\w)[bu]?['"].*""", re.DOTALL)


class hiding_frames:  # noqa: N801 - used like a function, as `contextlib.suppress` is
    """Leaves the frames that hold secrets out of whatever is raised inside its block."""

    __slots__ = ("_outer",)

    def __enter__(self) -> None:
        self._outer = sys.exception()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            hide_frames(error, self._outer)


def hiding_arguments(function: F) -> F:
    """Leave a function's own frame, with its arguments, out of whatever it raises."""
    _TAKING_SECRETS.add(function.__code__)

    # Both do as `hiding_frames` does, in a fifth of the time: every request is made in them.
    async def waiting(*arguments: Any, **named: Any) -> Any:
        outer = sys.exception()
        try:
            return await function(*arguments, **named)
        except BaseException as error:
            hide_frames(error, outer)
            raise

    def calling(*arguments: Any, **named: Any) -> Any:
        outer = sys.exception()
        try:
            return function(*arguments, **named)
        except BaseException as error:
            hide_frames(error, outer)
            raise

    outer = waiting if inspect.iscoroutinefunction(function) else calling
    return cast("F", functools.wraps(function)(outer))


def hiding_fields(kind: K) -> K:
    """Leave the frame in which a value is made, with its fields, out of what refuses them."""
    vars_ = cast("Any", kind)
    vars_.__init__ = hiding_arguments(vars_.__init__)
    return kind


def hide_frames(error: BaseException, outer: BaseException | None = None) -> None:
    """Leave the frames that hold secrets out of an exception, its causes and its contexts.

    Args:
        error: The exception.
        outer: What was being handled before: it is the caller's own, as are its causes.
    """
    seen: set[int] = {id(outer)}
    to_see: list[BaseException | None] = [error]
    while to_see:
        one = to_see.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = _shown(one.__traceback__)
        if type(one).__module__.partition(".")[0] in _HTTP_LIBRARIES:
            _leave_out_quotes(one)
        to_see += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            to_see += cast("BaseExceptionGroup[BaseException]", one).exceptions


def _shown(trace: TracebackType | None) -> TracebackType | None:
    entries: list[TracebackType] = []
    while trace is not None:
        if not _holds_secrets(trace.tb_frame):
            entries.append(trace)
        trace = trace.tb_next
    for entry in reversed(entries):
        trace = TracebackType(trace, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return trace


def _holds_secrets(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))
    root = name.partition(".")[0]
    library = root in _HTTP_LIBRARIES or root in _BELOW
    return library or name.startswith(_OURS) or frame.f_code in _TAKING_SECRETS


def _leave_out_quotes(error: BaseException) -> None:
    """Leave out what a parser quotes of a response that it can't read."""
    error.args = tuple(_without_quotes(value) for value in error.args)
    if isinstance(getattr(error, "message", None), str):  # aiohttp's show this one
        vars(error)["message"] = _without_quotes(vars(error)["message"])


def _without_quotes(value: object) -> object:
    return _QUOTED.sub("…", value) if isinstance(value, str) else value
