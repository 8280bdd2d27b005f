from __future__ import annotations

import importlib.util
from typing import Any

import httpcore
import httpx
import pytest

from chat2pay_async import ConfigurationError
from chat2pay_async._transport.proxy import proxy_for, proxy_of
from chat2pay_async._transport.proxy import shown as shown_proxy

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
    """Return the proxy that httpx takes: it has a transport for each."""
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
    "EXAMPLE.com",
    "www.example.com , other.test",
    "example.com:8443",
    "localhost",
    "LOCALHOST",
    "127.0.0.1",
    "::1",
    "::1,127.0.0.1,localhost",
    "http://",
    "https://www.example.com:8443,example.com",
    "com",
    ".",
]
URLS = [
    "https://example.com/",
    "https://example.com:443/",
    "https://example.com:8443/",
    "https://www.example.com:8443/",
    "https://WWW.example.com/",
    "https://a.b.example.com/",
    "https://wwwexample.com/",
    "https://other.test/",
    "https://localhost:8080/",
    "https://127.0.0.1:5000/",
    "https://192.168.0.1/",
    "https://192.168.1.1/",
    "https://[::1]:8080/",
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
        assert ours("https://localhost/", proxy=proxy) == "http://p.test:9"


def test_the_environment_may_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://a.test:3")
    assert ours("https://example.com/") == "http://a.test:3"
    assert ours("https://example.com/", trust_env=False) is None


def test_the_proxy_of_a_client_that_shows_none_is_not_known() -> None:
    url = httpx.URL("http://127.0.0.1")
    assert proxy_of(object(), url) is None
    assert proxy_of(httpx.AsyncClient(trust_env=False), url) is None


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://me:s3cret@p.test:3128", "p.test:3128"),
        ("http://p.test", "p.test:80"),
        ("https://p.test", "p.test:443"),
        ("socks5h://p.test", "p.test:1080"),
        ("http://[2001:db8::1]:3128", "[2001:db8::1]:3128"),
    ],
)
def test_a_proxy_is_shown_as_host_and_port(url: str, text: str) -> None:
    assert shown_proxy(httpcore.URL(url)) == text


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


# The rule that applies, and the rest --------------------------------------------------------------

NAME, FOUR, SIX = "https://pay.example.com", "https://10.1.2.3", "https://[2001:db8::5]:8443"


@pytest.mark.parametrize(
    ("url", "exempt"),
    [
        *(
            (NAME, name)
            for name in ("pay.example.com", ".example.com", "example.com", "COM.", ".com.")
        ),
        *(
            (NAME, name)
            for name in ("*.example.com", "*example.com", "a b pay.example.com c", "a *")
        ),
        *(
            (NAME, name)
            for name in ("pay.example.com:443", "pay.example.com:*", ":443", "other,com")
        ),
        *(
            (NAME, name)
            for name in ("https://example.com", "https://", "all://*", "pay.example.com/")
        ),
        *((NAME, name) for name in ("\ufeffexample.com", "a\nexample.com\n", "::1/128,[::1],com")),
        ("https://pay.example.com.", "example.com"),
        ("https://sub.localhost", "localhost"),
        ("https://xn--bcher-kva.example", "bücher.example"),
        ("https://xn--bcher-kva.example", "BÜCHER.example:*"),
        *((FOUR, net) for net in ("10.1.2.3", "10.0.0.0/8", "10.1.2.99/24", "10.1.2.3/32")),
        *(
            (FOUR, net)
            for net in ("0.0.0.0/0", "10.0.0.0/255.0.0.0", "10.0.0.0/8:443", "10.1.2.3:*")
        ),
        *((SIX, net) for net in ("2001:db8::5", "2001:DB8:0::5", "[2001:db8::5]", "2001:db8::/32")),
        *(
            (SIX, net)
            for net in ("[2001:db8::5]:8443", "[2001:db8::]:*,::/0", "[2001:db8::/32]:8443")
        ),
        ("https://[fe80::5]", "fe80::/10"),
        ("https://[::1]", "::1/128"),
    ],
)
def test_an_exemption_is_read_as_curl_reads_it(
    url: str, exempt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p.test:9")
    assert ours(url) == "http://p.test:9"
    monkeypatch.setenv("NO_PROXY", exempt)
    assert ours(url) is None


@pytest.mark.parametrize(
    ("url", "exempt"),
    [
        *(
            (NAME, name)
            for name in ("xample.com", "ay.example.com", "pay.example", "example.com:80")
        ),
        *((NAME, name) for name in ("http://example.com", "127.0.0.1", "10.0.0.0/8", "::/0", "")),
        *(
            (FOUR, net)
            for net in ("10.1.2.4", "10.2.0.0/16", "3", "2.3", "10.1", "10.1.2.3:80", "::/0")
        ),
        *(
            (SIX, net)
            for net in ("2001:db8::/128", "2001:db9::/32", "[2001:db8::5]:443", "0.0.0.0/0")
        ),
    ],
)
def test_an_exemption_of_something_else_changes_nothing(
    url: str, exempt: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p.test:9")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert ours(url) == "http://p.test:9"
    assert not caplog.records


@pytest.mark.parametrize(
    "odd",
    [
        *("[", "[::1", "::1/129", "host:port", "<local>", '"pay.example.com"', "a;b", "foo/bar"),
        *(".", "10.0.0.0/33", "fe80::1%eth0", "me:s3cret@pay.example.com", "http://["),
        "\u2488.example",
    ],
)
@pytest.mark.parametrize("before", ["example.com,", ""], ids=["after an exemption", "alone"])
def test_an_exemption_that_is_no_host_is_left_out_with_a_warning(
    odd: str, before: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p.test:9")
    monkeypatch.setenv("NO_PROXY", before + odd)
    assert ours(NAME) == (None if before else "http://p.test:9")
    [record] = caplog.records
    assert (record.name, record.levelname) == ("chat2pay_async.settings", "WARNING")
    assert record.getMessage().startswith(
        "NO_PROXY has an entry that is no host, and is not used: "
    )
    assert "s3cret" not in record.getMessage()


BROKEN = ["ftp://me:s3cret@p.test", "http://", "//p.test:8080", "http://me:s3cret@p.test:99999"]
BROKEN += ["http://p.test:0", '"http://me:s3cret@p.test"', "socks4://p.test:1080"]


@pytest.mark.parametrize("proxy", BROKEN)
def test_only_the_proxy_that_applies_is_judged(
    proxy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=r"ALL_PROXY does not$") as refused:
        ours(NAME)
    monkeypatch.setenv("HTTPS_PROXY", "http://p.test:9")
    caplog.clear()
    assert ours(NAME) == "http://p.test:9"
    assert [record.getMessage() for record in caplog.records] == [
        "a proxy's URL must look like http://host:port (or https, socks5, socks5h), "
        f"without quotes; {name} does not, and is not used"
        for name in ("HTTP_PROXY", "ALL_PROXY")
    ]
    monkeypatch.setenv("NO_PROXY", "com")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert ours(NAME) is None
    assert "s3cret" not in f"{refused.value}{caplog.text}"


def test_a_proxy_without_its_package_does_not_matter_to_an_exempt_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", {"socksio": None}.__getitem__)
    monkeypatch.setenv("ALL_PROXY", "socks5://p.test:1080")
    with pytest.raises(ConfigurationError, match=r"httpx\[socks\].*ALL_PROXY names one"):
        ours(NAME)
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert ours(NAME) is None


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:1080/", "SOCKS://127.0.0.1:1080"])
def test_gnomes_socks_proxy_is_read_as_socks5(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert ours(NAME) == "socks5://127.0.0.1:1080"
    monkeypatch.setenv("HTTPS_PROXY", "http://p.test:9")
    assert ours(NAME) == "http://p.test:9"


@pytest.mark.parametrize("around", [" {}\n", "\r\n{}", "\ufeff{}"])
def test_what_stands_around_a_proxys_url_is_dropped(
    around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", around.format("http://p.test:9"))
    assert ours(NAME) == "http://p.test:9"
    assert ours(NAME, proxy=around.format("http://q.test:9")) == "http://q.test:9"
    monkeypatch.setenv("HTTPS_PROXY", around.format(""))
    assert ours(NAME) is None


# Plain http, on this machine ----------------------------------------------------------------------

LOOPBACK = [
    "http://127.0.0.1:8000",
    "http://localhost",
    "http://[::1]:8000",
    "http://a.localhost:80",
]
IN_CLEAR = [*LOOPBACK, "http://sandbox:8080"]
"""The hosts for plain http: this machine, and those that are named for it."""


@pytest.mark.parametrize("url", IN_CLEAR)
@pytest.mark.parametrize(
    "proxy", ["http://p.test:9", "http://127.0.0.1:9", "x://", "socks://p.test"]
)
def test_plain_http_goes_through_no_proxy_of_the_environment(
    url: str, proxy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "[")
    assert ours(url) is None
    assert not caplog.records


@pytest.mark.parametrize("url", IN_CLEAR)
def test_a_given_proxy_for_plain_http_must_be_on_this_machine_itself(url: str) -> None:
    for elsewhere in ("http://p.test:9", "https://p.test", "socks5://192.0.2.1:1080"):
        with pytest.raises(ConfigurationError, match="would be shown the API key"):
            ours(url, proxy=elsewhere)
    assert ours(url, proxy="http://127.0.0.1:9") == "http://127.0.0.1:9"
    assert ours(url, proxy="http://[::1]:9") == "http://::1:9"


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
