"""The transport that a client's settings ask for: TLS with a private authority, and its like."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import anyio
import anyio.abc
import churn
import httpx
import pytest
import trustme
from anyio.streams.tls import TLSAttribute

from chat2pay_async import (
    AsyncChat2Pay,
    ConfigurationError,
    ConnectionFailedError,
    Proof,
    RetryPolicy,
    http_client_for,
)

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy(max_attempts=1)
WAYS = ("default", "fast", "http_client_for")
BODY = b'{"integrators": [], "environment": "test"}'


class Server:
    """A server over TLS that may want a certificate, and keeps what it was shown and told."""

    def __init__(self, *, wants_certificate: bool = False) -> None:
        self.authority = trustme.CA()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("localhost").configure_cert(self.context)
        if wants_certificate:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(self.context)
        self.names = list[str]()
        self.protocols = list[Any]()
        self.heads = list[bytes]()

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        shown: Any = stream.extra(TLSAttribute.peer_certificate, None)
        self.protocols.append(stream.extra(TLSAttribute.alpn_protocol, None))
        self.names += [pair[1] for field in (shown or {}).get("subject", ()) for pair in field]
        held = b""
        while True:
            head, held = await churn.read_head(stream, held)
            self.heads.append(head)
            body = b"" if head.startswith(b"HEAD") else BODY
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + body)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        async with churn.listening(self.serve, self.context) as port:
            yield f"https://localhost:{port}"

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@contextlib.asynccontextmanager
async def client_over(way: str, url: str, **settings: Any) -> AsyncIterator[AsyncChat2Pay]:
    own = settings.keys() & {"ssl_context", "http2"}
    tls: dict[str, Any] = {name: settings.pop(name) for name in own}
    async with contextlib.AsyncExitStack() as stack:
        given = tls
        if way == "http_client_for":
            http = await stack.enter_async_context(http_client_for(url, **tls))
            given = {"http_client": http}
        elif way == "fast":
            given = {**tls, "transport": "fast"}
        client = AsyncChat2Pay("a-key", base_url=url, retry=ONCE, **given, **settings)
        yield await stack.enter_async_context(client)


@pytest.mark.parametrize("way", WAYS)
async def test_a_private_authority_is_trusted_where_its_context_is_given(way: str) -> None:
    server = Server()
    async with server.running() as url:
        async with client_over(way, url) as client:
            with pytest.raises(ConnectionFailedError, match=r"self.signed|unable to get"):
                await client.get_configuration()
        async with client_over(way, url, ssl_context=server.trusting()) as client:
            assert (await client.get_configuration()).environment == "test"
    assert len(server.heads) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_certificate_is_shown(way: str) -> None:
    server = Server(wants_certificate=True)
    context = server.trusting()
    certificate = server.authority.issue_cert("shop@example.test", common_name="the shop")
    certificate.configure_cert(context)
    async with (
        server.running() as url,
        client_over(way, url, ssl_context=context) as client,
    ):
        assert (await client.get_configuration()).environment == "test"
    assert "the shop" in server.names


@pytest.mark.parametrize("way", WAYS)
async def test_a_context_that_was_used_for_http2_is_not_taken_for_an_offer_of_it(way: str) -> None:
    pytest.importorskip("h2")
    server = Server()
    server.context.set_alpn_protocols(["h2", "http/1.1"])
    context = server.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])  # another client has set them
    async with server.running() as url, client_over(way, url, ssl_context=context) as client:
        assert (await client.get_configuration()).environment == "test"
    assert server.protocols == ["http/1.1"]


class Meanwhile(ssl.SSLContext):
    """A context whose protocols another client sets in the moment before each handshake."""

    def set_alpn_protocols(self, _protocols: Any) -> None:
        super().set_alpn_protocols(["h2"])


async def test_a_connection_that_turned_out_to_be_for_http2_is_refused_and_nothing_sent() -> None:
    server = Server()
    server.context.set_alpn_protocols(["h2"])
    context = Meanwhile(ssl.PROTOCOL_TLS_CLIENT)
    server.authority.configure_trust(context)
    async with server.running() as url, client_over("fast", url, ssl_context=context) as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await client.get_configuration()
    assert "the server speaks HTTP/2" in str(caught.value.__cause__)
    assert [one.proof for one in caught.value.attempts] == [Proof.NOT_SENT]
    assert server.heads == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("ca.pem", "must be an ssl.SSLContext, not str"),
        (True, "must be an ssl.SSLContext, not bool"),
        (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), "is a server's"),
    ],
    ids=["path", "flag", "server's"],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda context: AsyncChat2Pay("k", ssl_context=context),
        lambda context: AsyncChat2Pay("k", transport="fast", ssl_context=context),
        lambda context: http_client_for(ssl_context=context),
    ],
    ids=WAYS,
)
def test_what_tls_cant_be_done_with_is_refused(
    given: Any, problem: str, make: Callable[[Any], object]
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        make(given)


@pytest.mark.parametrize("name", ["verify", "cert", "http1", "limits"])
def test_what_httpx_would_ignore_in_silence_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name} is of httpx's own.*pass ssl_context"):
        http_client_for("https://a.test", **cast("Any", {name: False}))


@pytest.mark.parametrize("way", [*WAYS, "http_client"])
async def test_a_users_headers_and_program_go_out_with_every_request(way: str) -> None:
    server = Server()
    settings = {
        "default_headers": {"X-Gateway": "g-1"},
        "app_info": {"name": "shop", "version": "2", "url": "https://shop.test"},
    }
    async with server.running() as url, contextlib.AsyncExitStack() as stack:
        given: dict[str, Any] = {"ssl_context": server.trusting()}
        if way == "http_client":
            http = httpx.AsyncClient(verify=server.trusting(), headers={"X-Gateway": "theirs"})
            given = {"http_client": await stack.enter_async_context(http)}
        client = await stack.enter_async_context(client_over(way, url, **given, **settings))
        await client.get_configuration()
        with contextlib.suppress(Exception):  # what comes is no link
            await client.request("POST", "/api/v2/new", json={"a": 1})
    assert len(server.heads) == 2
    for head in server.heads:
        lines = head.lower().split(b"\r\n")
        agent = b"user-agent: chat2pay-async/0.1.0 shop/2 (https://shop.test)"
        assert lines.count(b"x-gateway: g-1") == lines.count(agent) == 1
        assert b"theirs" not in head


@pytest.mark.parametrize("way", [*WAYS, "http_client"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_request_without_a_body_says_so_unless_it_is_a_read(way: str, method: str) -> None:
    server = Server()
    async with server.running() as url, contextlib.AsyncExitStack() as stack:
        given: dict[str, Any] = {"ssl_context": server.trusting()}
        if way == "http_client":
            http = httpx.AsyncClient(verify=server.trusting())
            given = {"http_client": await stack.enter_async_context(http)}
        client = await stack.enter_async_context(client_over(way, url, **given))
        raw = await client.request(method, "/api/v9/new", params={"a": 1})
        assert raw.status_code == 200
    (head,) = server.heads
    assert head.startswith(f"{method} /api/v9/new?a=1 HTTP/1.1\r\n".encode())
    has_length = b"\r\ncontent-length: 0" in head.lower()
    is_built_by_httpx = way.startswith("http_client") and method == "DELETE"
    assert has_length == (method not in {"GET", "HEAD"} and not is_built_by_httpx)
