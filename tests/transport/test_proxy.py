from __future__ import annotations

import importlib.util
from typing import Any

import httpcore
import httpx
import pytest

from chat2pay_async import ConfigurationError
from chat2pay_async._transport.proxy import proxy_for

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


def ours(url: str, **arguments: Any) -> str | None:
    proxy = proxy_for(url, **{"proxy": None} | arguments)
    return None if proxy is None else shown(proxy.url)


def shown(url: httpcore.URL) -> str:
    return f"{url.scheme.decode()}://{url.host.decode()}:{url.port}"


def theirs(url: str) -> str | None:
    """What httpx does: it has a transport for each proxy."""
    transport: Any = httpx.AsyncClient()._transport_for_url(httpx.URL(url))
    proxy_url: httpcore.URL | None = getattr(transport._pool, "_proxy_url", None)
    return None if proxy_url is None else shown(proxy_url)


ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"HTTP_PROXY": "http://h.test:1"},
    {"HTTPS_PROXY": "http://s.test:2"},
    {"ALL_PROXY": "http://a.test:3"},
    {"ALL_PROXY": "a.test:3"},
    {"HTTP_PROXY": "http://h.test:1", "HTTPS_PROXY": "https://s.test", "ALL_PROXY": "a.test"},
    {"https_proxy": "http://lower.test:1"},
    {"HTTPS_PROXY": ""},
    {"FTP_PROXY": "ftp://f.test"},
]
EXEMPTIONS = [
    "",
    "*",
    " , ",
    "example.com, *",
    "example.com",
    ".example.com",
    "EXAMPLE.com",
    "www.example.com , other.test",
    "example.com:8443",
    "localhost",
    "LOCALHOST",
    "127.0.0.1",
    "192.168.0.0/16",
    "::1",
    "::1,127.0.0.1,localhost",
    "https://example.com",
    "http://",
    "all://",
    "all://*",
    "https://*.example.com:8443",
    "https://www.example.com:8443,example.com",
    "com",
    ".",
]
URLS = [
    "http://example.com/",
    "https://example.com/",
    "https://example.com:443/",
    "https://example.com:8443/",
    "https://www.example.com:8443/",
    "https://WWW.example.com/",
    "https://a.b.example.com/",
    "https://wwwexample.com/",
    "https://.example.com/",
    "https://other.test/",
    "http://localhost:8080/",
    "https://sub.localhost/",
    "http://127.0.0.1:5000/",
    "http://192.168.0.0/",
    "http://192.168.1.1/",
    "http://[::1]:8080/",
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda value: " ".join(value) or "empty")
@pytest.mark.parametrize("exempt", EXEMPTIONS)
def test_the_environment_is_read_as_httpx_reads_it(
    environment: dict[str, str], exempt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (environment | {"NO_PROXY": exempt}).items():
        monkeypatch.setenv(name, value)
    # Loading the authorities for each of httpx's transports takes most of this test's time.
    monkeypatch.setattr("httpx._transports.default.create_ssl_context", lambda **_: None)
    expected: dict[str, Any] = {}
    client: Any = httpx.AsyncClient()
    for url in URLS:
        pool = client._transport_for_url(httpx.URL(url))._pool
        expected[url] = shown(pool._proxy_url) if hasattr(pool, "_proxy_url") else None
    assert {url: ours(url) for url in URLS} == expected


def test_the_comparison_sees_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://a.test:3")
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert (theirs("https://other.test/"), theirs("https://example.com/")) == (
        "http://a.test:3",
        None,
    )


def test_a_given_proxy_is_for_everything_and_the_environment_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://a.test:3")
    monkeypatch.setenv("NO_PROXY", "*")
    for proxy in ("http://p.test:9", httpx.URL("http://p.test:9"), httpx.Proxy("http://p.test:9")):
        assert ours("https://example.com/", proxy=proxy) == "http://p.test:9"
        assert ours("http://localhost/", proxy=proxy) == "http://p.test:9"


def test_the_environment_may_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://a.test:3")
    assert ours("https://example.com/") == "http://a.test:3"
    assert ours("https://example.com/", trust_env=False) is None


def test_a_proxys_user_headers_and_certificates_are_kept() -> None:
    import ssl  # noqa: PLC0415 - for this test only

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    given = httpx.Proxy(
        "https://me:secret@p.test", headers={"X-Team": "payments"}, ssl_context=context
    )
    proxy = proxy_for("https://example.com", given)
    assert proxy is not None
    assert proxy.ssl_context is context
    assert proxy.auth == (b"me", b"secret")
    assert proxy.headers == [
        (b"Proxy-Authorization", b"Basic bWU6c2VjcmV0"),
        (b"X-Team", b"payments"),
    ]


@pytest.mark.parametrize("url", ["ftp://me:secret@p.test", "p.test:8080", "http://me:secret@p:x"])
def test_a_proxy_that_cant_be_used_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="a proxy's URL must look like") as caught:
        proxy_for("https://example.com", url, trust_env=False)
    assert "secret" not in str(caught.value)


def test_an_exemption_that_is_no_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "::1/64")
    with pytest.raises(httpx.InvalidURL):
        httpx.AsyncClient()
    with pytest.raises(ConfigurationError, match="NO_PROXY"):
        proxy_for("https://example.com", None)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_without_its_package_says_what_to_install(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"socksio": None}
    monkeypatch.setattr(importlib.util, "find_spec", found.__getitem__)
    with pytest.raises(ConfigurationError, match=r"httpx\[socks\]"):
        proxy_for("https://example.com", f"{scheme}://p.test:1080")


def test_a_socks_proxy_with_its_package_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    assert ours("https://example.com", proxy="socks5://p.test:1080") == "socks5://p.test:1080"
