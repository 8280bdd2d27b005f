"""Tracebacks lose the frames that hold secrets, and nothing else."""

from __future__ import annotations

import inspect
import traceback
from typing import Any

import attrs
import h11
import pytest
from aiohttp.http_exceptions import BadStatusLine

from chat2pay_async._tracebacks import hide_frames, hiding_arguments, hiding_fields, hiding_frames


def raise_in(module: str, error: BaseException) -> None:
    """Raise an exception in a function of a module's."""
    names: dict[str, Any] = {"__name__": module}
    exec("def fail(error):\n    raise error", names)  # noqa: S102 - a function of another module
    names["fail"](error)


def raised_in(module: str, error: BaseException) -> BaseException:
    try:
        raise_in(module, error)
    except BaseException as caught:  # noqa: BLE001 - whatever it is
        return caught
    raise AssertionError


def functions_of(error: BaseException) -> list[str]:
    return [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]


@pytest.mark.parametrize(
    "module",
    [
        *("httpx._client", "httpx2", "httpcore._async.http11", "h11._connection", "h2.connection"),
        *("hpack", "aiohttp.client", "anyio.streams.tls", "asyncio.sslproto", "trio._ssl"),
        *("ssl", "sqlite3", "chat2pay_async._transport.pool", "chat2pay_async._journal.sqlite"),
    ],
)
def test_frames_of_libraries_and_of_what_writes_bodies_are_left_out(module: str) -> None:
    error = raised_in(module, ValueError("no"))
    hide_frames(error)
    assert functions_of(error) == ["raised_in", "raise_in"]


@pytest.mark.parametrize("module", ["shop.payments", "httpxtras", "chat2pay_async._send.sender"])
def test_frames_of_users_and_of_the_send_path_stay(module: str) -> None:
    error = raised_in(module, ValueError("no"))
    hide_frames(error)
    assert functions_of(error) == ["raised_in", "raise_in", "fail"]


def test_causes_contexts_and_groups_lose_theirs_too() -> None:
    cause, context, member = (raised_in("httpx", ValueError(name)) for name in "abc")
    error = BaseExceptionGroup("several", [member])
    error.__cause__, error.__context__ = cause, context
    cause.__cause__ = error  # a circle ends
    hide_frames(error)
    for one in (cause, context, member):
        assert functions_of(one) == ["raised_in", "raise_in"]


def test_what_was_being_handled_before_is_left_alone() -> None:
    theirs = raised_in("httpx", ValueError("theirs"))
    try:
        raise theirs
    except ValueError:
        with pytest.raises(KeyError), hiding_frames():
            raise_in("httpx", KeyError("ours"))
    assert "fail" in functions_of(theirs)


def test_a_block_that_raises_nothing_hides_nothing() -> None:
    with hiding_frames():
        pass


def test_what_a_parser_quotes_is_left_out() -> None:
    line = bytearray(b"HTTP/1.1 2OO https://pay.test/p/1")
    error = h11.RemoteProtocolError(f"illegal status line: {line!r}")
    hide_frames(error)
    assert str(error) == "illegal status line: …"
    quoted = BadStatusLine("https://pay.test/p/1")
    hide_frames(quoted)
    assert "pay.test" not in str(quoted) + repr(quoted)


def test_the_text_of_other_exceptions_stays() -> None:
    error = OSError(111, "refused 'by' b'it'")
    hide_frames(error)
    assert error.strerror == "refused 'by' b'it'"


@hiding_arguments
def pay(card: str) -> int:
    """Pay with a card."""
    return int(card)


@hiding_arguments
async def pay_later(card: str) -> int:
    return pay(card)


@hiding_fields
@attrs.frozen
class Card:
    number: int = attrs.field(converter=int)


def test_a_function_that_hides_its_arguments_is_in_no_traceback_and_else_the_same() -> None:
    assert (pay("4"), pay.__doc__, str(inspect.signature(pay))) == (
        *(4, "Pay with a card.", "(card: 'str') -> 'int'"),
    )
    with pytest.raises(ValueError, match="invalid literal") as caught:
        pay("4x")
    assert functions_of(caught.value) == [inspect.stack()[0].function]


@pytest.mark.anyio
async def test_a_coroutine_that_hides_its_arguments_is_in_no_traceback() -> None:
    assert inspect.iscoroutinefunction(pay_later)
    assert await pay_later("4") == 4
    with pytest.raises(ValueError, match="invalid literal") as caught:
        await pay_later("4x")
    assert functions_of(caught.value) == [inspect.stack()[0].function]


def test_a_value_that_hides_its_fields_is_in_no_traceback_when_one_is_refused() -> None:
    assert Card("4").number == 4
    with pytest.raises(ValueError, match="invalid literal") as caught:
        Card("4x")
    assert functions_of(caught.value) == [inspect.stack()[0].function]
