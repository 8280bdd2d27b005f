"""The time when a request may leave, and what an exchange without an answer says."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any

import anyio
import httpcore
import httpx
import pytest
from names import Resolver, at, patient

from chat2pay_async import ConfigurationError, Proof
from chat2pay_async import _eventloop as clock
from chat2pay_async._transport.base import ExchangeError, Names, SendGuard, in_turns

pytestmark = pytest.mark.anyio


async def test_a_request_may_leave_whenever_unless_it_must_leave_by_a_time() -> None:
    SendGuard()()


@pytest.mark.virtual_time
async def test_a_request_that_must_leave_by_a_time_may_leave_until_then_and_no_later() -> None:
    latest = anyio.current_time() + 1.0
    SendGuard(latest=latest)()
    await anyio.sleep(0.9)
    SendGuard(latest=latest)()
    await anyio.sleep(0.2)
    guard = SendGuard(latest=latest)
    with pytest.raises(ExchangeError, match="TooLate") as caught:
        guard()
    assert (caught.value.proof, caught.value.timed_out) == (Proof.NOT_SENT, False)
    assert (guard.was_too_late, guard.may_have_been_sent, guard.was_written) == (True, False, False)


@pytest.mark.virtual_time
async def test_a_request_that_has_left_is_not_called_too_late_afterwards() -> None:
    guard = SendGuard(latest=anyio.current_time() + 1.0)
    guard()
    await anyio.sleep(1.1)
    guard()
    assert (guard.was_too_late, guard.may_have_been_sent, guard.was_written) == (False, True, True)


def test_a_request_may_have_left_until_the_contrary_is_certain() -> None:
    assert SendGuard().may_have_been_sent


def test_an_exchange_without_an_answer_says_why_and_what_that_proves() -> None:
    error = ExchangeError("ReadTimeout", proof=Proof.UNKNOWN, timed_out=True)
    assert (str(error), error.reason) == ("ReadTimeout", "ReadTimeout")
    assert (error.proof, error.timed_out) == (Proof.UNKNOWN, True)


# What it says of its causes ----------------------------------------------------------------------


def failed(*chain: BaseException, reason: str = "ConnectError") -> ExchangeError:
    """A failure with its causes, the outermost first."""
    failure: BaseException = ExchangeError(reason, proof=Proof.NOT_SENT, timed_out=False)
    outermost = failure
    for link in chain:
        failure.__cause__ = failure = link
    assert isinstance(outermost, ExchangeError)
    return outermost


def tls(kind: type[ssl.SSLError] = ssl.SSLError, **fields: object) -> ssl.SSLError:
    """An error of TLS, with the fields that OpenSSL sets."""
    error = kind(1, "[SSL] (_ssl.c:1)")
    for name, value in fields.items():
        setattr(error, name, value)
    return error


REFUSED = OSError(errno.ECONNREFUSED, "to ('10.0.0.1', 443)")
UNVERIFIED = ssl.SSLCertVerificationError
AUTHORITIES = " (SSL_CERT_FILE or SSL_CERT_DIR names the authorities to trust)"

SAID = {
    "connection refused": [httpcore.ConnectError("x"), REFUSED],
    "name or service not known": [socket.gaierror(socket.EAI_NONAME, "Name or service not known")],
    "try again": [socket.gaierror(socket.EAI_AGAIN, "Try again")],
    "certificate has expired": [
        tls(UNVERIFIED, verify_code=10, verify_message="certificate has expired")
    ],
    f"self-signed certificate{AUTHORITIES}": [
        tls(UNVERIFIED, verify_code=18, verify_message="self-signed certificate")
    ],
    "wrong version number (is it plain http there?)": [tls(reason="WRONG_VERSION_NUMBER")],
    "sslv3 alert handshake failure (does it demand a client certificate?)": [
        tls(reason="SSLV3_ALERT_HANDSHAKE_FAILURE")
    ],
    "internal error": [tls(reason="INTERNAL_ERROR")],
    "the proxy answered 407: it wants a user name and a password, or others": [
        httpx.ProxyError("407 s3cret")
    ],
    "the proxy answered 403": [httpx.ProxyError("403"), httpcore.ProxyError("403 s3cret")],
    "the proxy answered 502": [httpcore.ProxyError("502 Bad Gateway")],
    "the proxy refused": [httpcore.ProxyError("s3cret: Connection refused.")],
    "": [httpcore.ConnectError("s3cret"), OSError("s3cret")],
}
PERMANENT = [
    "name or service",
    "certificate has",
    "self-signed",
    "wrong version",
    "sslv3",
    *("the proxy answered 407", "the proxy answered 403"),
]


@pytest.mark.parametrize(("words", "chain"), SAID.items(), ids=lambda value: str(value)[:24])
def test_a_failure_is_put_in_the_words_of_its_innermost_cause(
    words: str, chain: list[BaseException]
) -> None:
    assert failed(*chain).words == words
    assert failed(*chain).is_permanent is words.startswith(tuple(PERMANENT))


def test_a_failure_without_words_is_put_in_those_of_its_reason() -> None:
    assert failed(reason="ReadTimeout").words == "no complete response in time (ReadTimeout)"
    assert failed(reason="TooLate").words == ""


@pytest.mark.parametrize(
    "reason",
    [
        *("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "TLSV1_ALERT_UNKNOWN_CA"),
        *("SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
        *("TLSV13_ALERT_CERTIFICATE_REQUIRED", "RECORD_LAYER_FAILURE", "TLSV1_ALERT_ACCESS_DENIED"),
    ],
)
def test_a_refusal_of_tls_stays(reason: str) -> None:
    assert failed(tls(reason=reason)).is_permanent


@pytest.mark.parametrize(
    "cause",
    [
        *(tls(reason="TLSV1_ALERT_INTERNAL_ERROR"), tls(), ssl.SSLEOFError(8, "EOF")),
        *(httpcore.ProxyError("408"), httpcore.ProxyError("429"), httpcore.ProxyError("4070")),
        *(TimeoutError(), ConnectionResetError(errno.ECONNRESET, "x"), RuntimeError("407")),
    ],
    ids=repr,
)
def test_a_failure_that_may_pass_is_not_permanent(cause: Exception) -> None:
    assert not failed(cause).is_permanent


def test_a_request_that_a_client_can_not_send_stays_so() -> None:
    assert failed(httpx.UnsupportedProtocol("x")).is_permanent


def test_of_several_addresses_the_first_ones_failure_is_told() -> None:
    group = ExceptionGroup("x", [REFUSED, OSError(errno.EHOSTUNREACH, "x")])
    assert failed(OSError("all attempts failed"), group).words == "connection refused"


def test_a_cause_that_a_library_hides_is_found() -> None:
    hidden = httpcore.ConnectError("x")
    hidden.__context__, hidden.__suppress_context__ = REFUSED, True
    assert failed(hidden).words == "connection refused"


def test_what_the_caller_was_handling_is_no_cause() -> None:
    failure = failed(httpcore.ConnectError("x"), REFUSED)
    REFUSED.__context__ = failure.outer = tls(UNVERIFIED, verify_message="certificate has expired")
    try:
        assert (failure.words, failure.is_permanent) == ("connection refused", False)
    finally:
        REFUSED.__context__ = None


def test_a_setting_is_to_blame_only_where_nothing_was_sent() -> None:
    setting = ConfigurationError("SSL_CERT_FILE='/nowhere' can't be used")
    failure = failed(httpcore.ConnectError("x"), setting)
    assert (failure.setting, failure.is_permanent) == (setting, True)
    failure.proof = Proof.UNKNOWN
    assert failure.setting is None
    assert failed(REFUSED).setting is None


# Names --------------------------------------------------------------------------------------------


async def look_up_at_once(names: Names, count: int) -> list[Any]:
    """Return what so many tasks find, or fail with."""
    outcomes = list[Any]()

    async def one() -> None:
        try:
            outcomes.append(await names.addresses())
        except OSError as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    return outcomes


@pytest.mark.virtual_time
async def test_a_host_is_looked_up_once_for_all_that_need_it_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver([at(1), at(2)], patient(1.0))
    resolver.put_in_place(monkeypatch)
    assert await look_up_at_once(Names("host.test", 1), 100) == [[at(1), at(2)]] * 100
    assert resolver.look_ups == 1


@pytest.mark.virtual_time
async def test_what_was_found_is_used_again_for_some_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver([at(1)])
    resolver.put_in_place(monkeypatch)
    names, counts = Names("host.test", 1), list[int]()
    for pause in (0.0, Names.KEPT - 0.1, 0.2):
        await anyio.sleep(pause)
        await names.addresses()
        counts.append(resolver.look_ups)
    names.forget()
    await names.addresses()
    assert [*counts, resolver.look_ups] == [1, 1, 2, 3]


@pytest.mark.virtual_time
async def test_all_that_wait_for_a_look_up_are_told_its_error_and_the_next_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = socket.gaierror(socket.EAI_AGAIN, "try again")
    resolver = Resolver([error], patient(1.0))
    resolver.put_in_place(monkeypatch)
    names = Names("host.test", 1)
    told = await look_up_at_once(names, 3)
    assert [(type(one), one.args) for one in told] == [(socket.gaierror, error.args)] * 3
    assert len(set(map(id, told))) == 3, "tracebacks are not to mix"
    resolver.found = [at(1)]
    assert (await names.addresses(), resolver.look_ups) == ([at(1)], 2)


@pytest.mark.virtual_time
async def test_a_look_up_that_is_cancelled_is_made_by_one_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver([at(1)], patient(1.0))
    resolver.put_in_place(monkeypatch)
    names = Names("host.test", 1)
    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(0.5):
            async with anyio.create_task_group() as first:
                first.start_soon(names.addresses)
                await anyio.sleep(0.1)
                tasks.start_soon(look_up_at_once, names, 2)
    assert resolver.look_ups == 2
    assert (await names.addresses(), resolver.look_ups) == ([at(1)], 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_takes_no_look_up(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Any = clock.current_loop()
    place = place if isinstance(place, asyncio.AbstractEventLoop) else anyio
    monkeypatch.setattr(place, "getaddrinfo", None)
    (found,) = await Names(host, 80).addresses()
    assert found[4][:2] == (host, 80)


def test_addresses_of_both_kinds_take_turns() -> None:
    a, b, c, d = at(1, "::1"), at(2, "::1"), at(3, "::1"), at(4)
    assert in_turns([a, b, c, d]) == [a, d, b, c]
    assert in_turns([]) == []
