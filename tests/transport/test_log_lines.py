"""Log lines of httpx and httpcore that raise: they take no response away."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.abc
import httpx
import httpx2
import pytest
import sniffio
from sockets import PATIENT, POST, listening, nobody_listening, read_request

from chat2pay_async import Proof, http_client_for
from chat2pay_async._transport.base import ExchangeError, SendGuard
from chat2pay_async._transport.factory import transport_for
from chat2pay_async._transport.log_lines import contained_log_lines

pytestmark = pytest.mark.anyio

HTTPX, HTTPCORE = httpx.__name__, httpx.__name__.replace("httpx", "httpcore")
"""The names of the loggers, in httpx2's place too."""
BODY = b'{"paymentLink": "https://pay.test/1"}'


class Raising(logging.Filter):
    """A filter that looks for what a record does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        self.names.add(record.name.partition(".")[0])
        raise AttributeError("no tenant in this record")


LOGGERS = {
    "a handler": ["httpx", "httpx2", "httpcore", "httpcore2"],
    "the loggers": ["httpx", "httpx2", "httpcore.http11", "httpcore2.http11"],
}


@pytest.fixture(params=LOGGERS)
def raising(request: pytest.FixtureRequest) -> Iterator[Raising]:
    """A filter that raises, on a handler of the libraries' lines, or on their loggers."""
    raises, handler = Raising(), logging.StreamHandler(io.StringIO())
    loggers = [logging.getLogger(name) for name in LOGGERS[request.param]]
    handler.addFilter(raises)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        if request.param == "a handler":
            logger.addHandler(handler)
        else:
            logger.addFilter(raises)
    yield raises
    for logger in loggers:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
        logger.removeFilter(raises)


async def answering(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        await read_request(stream)
        await stream.send(b"HTTP/1.1 201 X\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY))


CLIENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "default": lambda _url: {},
    "http_client_for": lambda url: {"http_client": http_client_for(url)},
    "httpx": lambda _url: {"http_client": httpx.AsyncClient(trust_env=False)},
    "httpx2": lambda _url: {"http_client": httpx2.AsyncClient(trust_env=False)},
    "transport": lambda _url: {"transport": httpx.AsyncHTTPTransport(trust_env=False)},
}


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_filter_that_raises_takes_no_response_away(kind: str, raising: Raising) -> None:
    async with listening(answering) as url:
        settings = CLIENTS[kind](url)
        transport = transport_for(url, **settings)
        response = await transport.exchange(POST, {}, PATIENT, SendGuard())
        await transport.aclose()
        if "http_client" in settings:
            with contained_log_lines():  # its closing is the user's, and logs, too
                await settings["http_client"].aclose()
    assert (response.status_code, response.body) == (201, BODY)
    loggers = {"httpx2", "httpcore2"} if kind == "httpx2" else {HTTPX, HTTPCORE}
    if kind in {"default", "http_client_for"} and sniffio.current_async_library() == "asyncio":
        loggers -= {HTTPCORE}  # our own connections log nothing
    assert raising.names == loggers


async def test_a_filter_that_raises_hides_no_failure(raising: Raising) -> None:
    transport = transport_for(nobody_listening())
    with pytest.raises(ExchangeError) as caught:
        await transport.exchange(POST, {}, PATIENT, SendGuard())
    await transport.aclose()
    assert (caught.value.proof, caught.value.reason) == (Proof.NOT_SENT, "ConnectError")
    assert HTTPX not in raising.names


async def test_a_log_line_that_failed_is_reported_where_that_can_be_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raises, logger = Raising(), logging.getLogger(HTTPX)
    logger.addFilter(raises)
    try:
        async with listening(answering) as url:
            transport = transport_for(url)
            with caplog.at_level(logging.INFO):
                await transport.exchange(POST, {}, PATIENT, SendGuard())
            await transport.aclose()
    finally:
        logger.removeFilter(raises)
    (record,) = [each for each in caplog.records if each.name.startswith("chat2pay_async")]
    assert record.getMessage() == f"a log line of {HTTPX} failed"
    assert record.exc_info is not None
    assert "no tenant in this record" in str(record.exc_info[1])


async def test_log_lines_are_written_once(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(answering) as url:
        transport = transport_for(url)
        filters = list(logging.getLogger(HTTPX).filters)
        await transport_for(url).aclose()
        assert logging.getLogger(HTTPX).filters == filters
        with caplog.at_level(logging.INFO, HTTPX):
            await transport.exchange(POST, {}, PATIENT, SendGuard())
        await transport.aclose()
    (record,) = [each for each in caplog.records if each.name == HTTPX]
    assert record.getMessage().startswith("HTTP Request: POST http://127.0.0.1:")


async def test_the_log_lines_of_others_raise_as_they_always_did(raising: Raising) -> None:
    transport = transport_for("https://a.test")  # it makes the loggers ready
    async with (
        listening(answering) as url,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        with pytest.raises(AttributeError, match="no tenant"):
            await client.post(url, content=POST.body)
    await transport.aclose()
    assert raising.names


async def test_a_hook_of_the_users_still_raises(raising: Raising) -> None:
    """It can't be told from what the response is to be judged by."""

    async def judge(_response: httpx.Response) -> None:
        raise ValueError

    async with (
        listening(answering) as url,
        httpx.AsyncClient(event_hooks={"response": [judge]}, trust_env=False) as client,
    ):
        with pytest.raises(ExchangeError) as caught:
            await transport_for(url, http_client=client).exchange(POST, {}, PATIENT, SendGuard())
    assert (caught.value.proof, caught.value.reason) == (Proof.UNKNOWN, "ValueError")
    assert raising.names
