"""The proxy that requests go through: the given one, or what the environment says.

httpx reads the environment only for transports of its own. This follows the same rules, which
are those of its documentation and of https://curl.se/libcurl/c/CURLOPT_NOPROXY.html.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import urllib.request

import attrs
import httpcore
import httpx

from chat2pay_async.errors import ConfigurationError

__all__ = ["proxy_for"]


def proxy_for(
    url: str, proxy: str | httpx.URL | httpx.Proxy | None, *, trust_env: bool = True
) -> httpcore.Proxy | None:
    """Find the proxy that requests to a URL go through.

    Args:
        url: Where they go.
        proxy: The one that was asked for.
        trust_env: Whether the environment is asked where none was.

    Returns:
        The proxy; None: straight there.

    Raises:
        ConfigurationError: A proxy's URL can't be used.
    """
    if proxy is not None:
        return _proxy(proxy)
    given = _environment() if trust_env else {}
    rules = sorted(
        (
            (_pattern(text), None if value is None else _proxy(value))
            for text, value in given.items()
        ),
        key=lambda rule: rule[0].rank,
    )
    return next((found for pattern, found in rules if pattern.matches(httpx.URL(url))), None)


@attrs.frozen
class _Pattern:
    """The URLs that a rule is about; what is empty or None stands for anything."""

    scheme: str
    host: str
    port: int | None

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The most particular comes first."""
        return self.port is None, -len(self.host), -len(self.scheme)

    def matches(self, url: httpx.URL) -> bool:
        return (
            self.scheme in {"", url.scheme}
            and self.port in {None, url.port}
            and self._matches_host(url.host)
        )

    def _matches_host(self, host: str) -> bool:
        if not self.host.startswith("*"):
            return self.host in {"", host}
        domain = self.host[1:].removeprefix(".")
        is_below = host.endswith(f".{domain}") and len(host) > len(domain) + 1
        return is_below or (host == domain and not self.host.startswith("*."))


def _pattern(text: str) -> _Pattern:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"NO_PROXY has an entry that is no host: {text!r}") from error
    scheme = "" if url.scheme == "all" else url.scheme
    return _Pattern(scheme, "" if url.host == "*" else url.host, url.port)


def _environment() -> dict[str, str | None]:
    """Read patterns of URLs and their proxies; None: none."""
    # On macOS and Windows it looks into the system's settings too.
    found = urllib.request.getproxies()
    exempt = [name.strip() for name in found.get("no", "").split(",")]
    if "*" in exempt:
        return {}
    rules: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        if url := found.get(scheme):
            rules[f"{scheme}://"] = url if "://" in url else f"http://{url}"
    return rules | {_exemption(name): None for name in exempt if name}


def _exemption(name: str) -> str:
    if "://" in name:
        return name
    try:
        address = ipaddress.ip_address(name.partition("/")[0])
    except ValueError:
        # A name stands for all below it too; `.name` only for those below it.
        return f"all://{name}" if name.lower() == "localhost" else f"all://*{name}"
    return f"all://{name}" if address.version == 4 else f"all://[{name}]"  # noqa: PLR2004


def _proxy(value: str | httpx.URL | httpx.Proxy) -> httpcore.Proxy:
    try:
        proxy = value if isinstance(value, httpx.Proxy) else httpx.Proxy(value)
    except (TypeError, ValueError, httpx.InvalidURL) as error:
        # Its text may hold a password.
        raise ConfigurationError(
            "a proxy's URL must look like http://host:port (or https, socks5, socks5h); it is the "
            "argument `proxy`, or one of HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
        ) from error
    if not all(text.isprintable() for field in proxy.headers.multi_items() for text in field):
        raise ConfigurationError("a header for the proxy has characters that it can't carry")
    url = proxy.url
    if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError('a SOCKS proxy needs one more package: pip install "httpx[socks]"')
    return httpcore.Proxy(
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=proxy.ssl_context,
    )
