"""Reasons why nobody could be reached: in words, and repeated only where that can help."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import attrs
import httpx
import pytest
import trustme
from sockets import listening, nobody_listening

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    ConfigurationError,
    ConnectionFailedError,
    OutcomeUnknownError,
    Proof,
    RetryPolicy,
    Timeout,
    http_client_for,
)

pytestmark = pytest.mark.anyio

OURS = ["default", "fast", "http_client_for"]
THEIRS = ["http_client", "transport"]
each_kind = pytest.mark.parametrize("kind", [*OURS, *THEIRS])
ATTEMPTS: Final = 3
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
AUTHORITY, STRANGER = trustme.CA(), trustme.CA()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


@contextlib.asynccontextmanager
async def client_of(kind: str, url: str) -> AsyncIterator[AsyncChat2Pay]:
    async with contextlib.AsyncExitStack() as stack:
        settings: dict[str, Any] = {}
        if kind == "fast":
            settings["transport"] = "fast"
        elif kind == "transport":
            context = ssl.create_default_context()
            AUTHORITY.configure_trust(context)
            settings["transport"] = httpx.AsyncHTTPTransport(verify=context)
        elif kind == "http_client_for":
            settings["http_client"] = await stack.enter_async_context(http_client_for(url))
        elif kind == "http_client":
            context = ssl.create_default_context()
            AUTHORITY.configure_trust(context)
            client = await stack.enter_async_context(httpx.AsyncClient(verify=context))
            settings["http_client"] = client
        yield await stack.enter_async_context(
            AsyncChat2Pay(
                "key",
                base_url=url,
                timeout=Timeout(connect=10, read=0.2, write=10, total=None),
                retry=RetryPolicy(max_attempts=ATTEMPTS, initial=0, settle=0),
                **settings,
            )
        )


@attrs.define
class Server:
    """Shakes hands over TLS, where it has a context, and answers alike; counts its connections."""

    context: ssl.SSLContext | None = None
    answer: bytes = b""
    connections: int = 0
    requests: list[bytes] = attrs.field(factory=list)

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        self.connections += 1
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                if self.context is not None:
                    await shake_hands(stream, self.context)
                self.requests.append(await stream.receive())
                await stream.send(self.answer)
                await stream.receive()


async def shake_hands(stream: anyio.abc.ByteStream, context: ssl.SSLContext) -> None:
    """Shake hands, and say what is wrong: anyio's own server keeps that to itself."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            if outgoing.pending:
                await stream.send(outgoing.read())
            incoming.write(await stream.receive())
        except ssl.SSLError:
            await stream.send(outgoing.read())
            while True:  # closing at once would take it back
                await stream.receive()
        else:
            return


def speaking(
    certificate: trustme.LeafCert, *, demands_one: bool = False, newest: int | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if demands_one:
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)
    if newest is not None:
        context.maximum_version = ssl.TLSVersion(newest)
    return context


async def failures_of(client: AsyncChat2Pay) -> list[Chat2PayError]:
    """The errors of a read and of a payment."""
    failures: list[Chat2PayError] = []
    for call in (client.get_configuration(), client.capture_payment("ref-1")):
        with pytest.raises(Chat2PayError) as caught:
            await call
        failures.append(caught.value)
    return failures


# TLS ----------------------------------------------------------------------------------------------

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
GOOD = AUTHORITY.issue_cert("127.0.0.1")
HANDSHAKES: dict[str, tuple[Callable[[], Server], str]] = {
    "unknown authority": (
        lambda: Server(speaking(STRANGER.issue_cert("127.0.0.1"))),
        "unable to get local issuer certificate (SSL_CERT_FILE or SSL_CERT_DIR names the",
    ),
    "another host": (
        lambda: Server(speaking(AUTHORITY.issue_cert("pay.example"))),
        "certificate is not valid for '127.0.0.1'",
    ),
    "client certificate": (
        lambda: Server(speaking(GOOD, demands_one=True, newest=ssl.TLSVersion.TLSv1_2)),
        "(does it demand a client certificate?)",
    ),
    "plain http": (
        lambda: Server(answer=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        "(is it plain http there?)",
    ),
}


@each_kind
@pytest.mark.parametrize("case", HANDSHAKES)
async def test_a_handshake_that_fails_is_told_in_words_and_not_repeated(
    kind: str, case: str
) -> None:
    make, words = HANDSHAKES[case]
    server = make()
    async with listening(server.serve) as url, client_of(kind, f"https{url[4:]}") as client:
        failures = await failures_of(client)
    for failure in failures:
        assert type(failure) is ConnectionFailedError
        assert f": could not connect to {url[7:]}: " in str(failure)
        assert words in str(failure)
        assert [attempt.proof for attempt in failure.attempts] == [Proof.NOT_SENT]
    assert server.connections == len(failures)


@each_kind
async def test_a_certificate_that_has_expired_is_told_in_words(kind: str) -> None:
    past = AUTHORITY.issue_cert("127.0.0.1", not_after=LONG_AGO)
    server = Server(speaking(past))
    async with listening(server.serve) as url, client_of(kind, f"https{url[4:]}") as client:
        failures = await failures_of(client)
    assert all("certificate has expired" in str(failure) for failure in failures)
    assert server.connections == len(failures)


@each_kind
async def test_a_client_certificate_that_is_demanded_after_the_handshake_leaves_it_unknown(
    kind: str,
) -> None:
    # In TLS 1.3 the request may be on its way by then: no words of an error say that it is not.
    server = Server(speaking(GOOD, demands_one=True))
    async with listening(server.serve) as url, client_of(kind, f"https{url[4:]}") as client:
        failures = await failures_of(client)
    read, payment = failures
    assert type(read) is ConnectionFailedError
    assert type(payment) is OutcomeUnknownError
    for failure in failures:
        assert "tlsv13 alert certificate required: it demands a client certificate" in str(failure)
        assert [attempt.proof for attempt in failure.attempts] == [Proof.UNKNOWN]


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "no certificate"])
async def test_authorities_that_can_not_be_read_are_an_error_of_the_settings(
    kind: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.pem"
    why = "No such file or directory"
    if content is not None:
        path.write_text(content)
        why = "it holds no certificate"
    monkeypatch.setenv("SSL_CERT_FILE", f"{path}")
    server = Server(speaking(GOOD))
    async with listening(server.serve) as url, client_of(kind, f"https{url[4:]}") as client:
        failures = await failures_of(client)
    for failure in failures:
        assert type(failure) is ConfigurationError
        assert (
            str(failure) == f"SSL_CERT_FILE={str(path)!r} can't be used: {why}; correct or unset it"
        )
        assert [attempt.proof for attempt in failure.attempts] == [Proof.NOT_SENT]
    assert server.connections == 0


@pytest.mark.parametrize("kind", OURS)
async def test_a_log_of_keys_that_can_not_be_written_is_called_by_its_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", f"{tmp_path}/nowhere/keys.log")
    async with client_of(kind, f"https{nobody_listening()[4:]}") as client:
        failures = await failures_of(client)
    for failure in failures:
        assert type(failure) is ConfigurationError
        assert str(failure).startswith("SSLKEYLOGFILE=")


# Connections --------------------------------------------------------------------------------------


@each_kind
async def test_a_refused_connection_is_told_in_words_and_repeated(kind: str) -> None:
    url = nobody_listening()
    async with client_of(kind, url) as client:
        failures = await failures_of(client)
    for failure in failures:
        assert type(failure) is ConnectionFailedError
        assert str(failure).endswith(f": could not connect to {url[7:]}: connection refused")
        assert [attempt.proof for attempt in failure.attempts] == [Proof.NOT_SENT] * ATTEMPTS


@each_kind
async def test_what_a_caller_is_handling_is_not_told_as_the_reason(kind: str) -> None:
    context = ssl.create_default_context()
    failures: list[Chat2PayError] = []
    async with client_of(kind, nobody_listening()) as client:
        try:
            context.load_verify_locations(cadata="no certificate")
        except ssl.SSLError as error:
            error.reason = "WRONG_VERSION_NUMBER"
            failures += await failures_of(client)
    assert len(failures) > 1
    for failure in failures:
        assert str(failure).endswith(": connection refused")
        assert len(failure.attempts) == ATTEMPTS


# Proxies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*OURS, "http_client"])
@pytest.mark.parametrize(
    ("status", "words", "attempts"),
    [
        (b"407 s3cret", "answered 407: it wants a user name and a password, or others", 1),
        (b"403 s3cret", "answered 403", 1),
        (b"502 s3cret", "answered 502", ATTEMPTS),
    ],
    ids=["407", "403", "502"],
)
async def test_a_proxys_refusal_is_told_with_its_status_and_repeated_where_it_may_pass(
    kind: str, status: bytes, words: str, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(answer=b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
    async with listening(server.serve) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:s3cret@{proxy[7:]}")
        async with client_of(kind, "https://pay.invalid") as client:
            failures = await failures_of(client)
    for failure in failures:
        assert type(failure) is ConnectionFailedError
        assert str(failure).endswith(
            f": could not connect to pay.invalid:443 through the proxy {proxy[7:]}: the proxy "
            f"{words}"
        )
        assert [attempt.proof for attempt in failure.attempts] == [Proof.NOT_SENT] * attempts
    assert server.connections == attempts * len(failures)


@pytest.mark.parametrize("kind", [*OURS, "http_client"])
async def test_a_proxy_that_is_away_is_not_taken_for_the_service(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = nobody_listening()
    monkeypatch.setenv("ALL_PROXY", proxy)
    async with client_of(kind, "https://pay.invalid") as client:
        failures = await failures_of(client)
    for failure in failures:
        assert str(failure).endswith(
            f"to pay.invalid:443 through the proxy {proxy[7:]}: connection refused"
        )


@pytest.mark.parametrize("kind", [*OURS, "transport"])
async def test_plain_http_to_this_machine_reaches_it_whatever_the_environment_says(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"integrators":[]}'
    proxy, service = Server(answer=answer), Server(answer=answer)
    async with listening(proxy.serve) as through, listening(service.serve) as url:
        monkeypatch.setenv("HTTP_PROXY", through)
        monkeypatch.setenv("ALL_PROXY", through)
        async with client_of(kind, url) as client:
            await client.get_configuration()
    assert (len(proxy.requests), len(service.requests)) == (0, 1)


@pytest.mark.parametrize("kind", THEIRS)
@pytest.mark.parametrize(
    "proxy", ["http://me:s3cret@p.test:3128", "https://p.test", "http://[2001:db8::1]"]
)
def test_what_would_send_plain_http_to_a_proxy_elsewhere_is_refused(kind: str, proxy: str) -> None:
    made: Any = httpx.AsyncClient if kind == "http_client" else httpx.AsyncHTTPTransport
    for url in ("http://127.0.0.1:8000", "http://localhost"):
        with pytest.raises(ConfigurationError, match="to the proxy ") as refused:
            AsyncChat2Pay("key", base_url=url, **{kind: made(proxy=proxy)})
        assert "s3cret" not in str(refused.value)
        AsyncChat2Pay("key", base_url=url, **{kind: made(proxy="http://127.0.0.1:3128")})
    AsyncChat2Pay("key", base_url="https://127.0.0.1", **{kind: made(proxy=proxy)})


def test_what_the_environment_says_to_httpx_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p.test:3128")
    with pytest.raises(ConfigurationError, match=r"to the proxy p\.test:3128: make it with trust_"):
        AsyncChat2Pay("key", base_url="http://localhost", http_client=httpx.AsyncClient())
    client = httpx.AsyncClient(trust_env=False)
    AsyncChat2Pay("key", base_url="http://localhost", http_client=client)
