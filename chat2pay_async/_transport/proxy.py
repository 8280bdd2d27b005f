"""The proxy that requests go through: the given one, or what the environment says.

httpx reads the environment only for transports of its own, and refuses to work where anything in it
is odd. Here only the rule counts that is about the base URL; the log warns of the rest. NO_PROXY is
read as curl reads it (https://curl.se/libcurl/c/CURLOPT_NOPROXY.html), and may name a scheme or a
port besides, as for httpx.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import re
import urllib.request
from typing import Any, Final

import httpcore
import httpx

from chat2pay_async._config import cleaned, is_loopback
from chat2pay_async.errors import ConfigurationError

__all__ = ["proxy_for", "proxy_of", "shown"]

_logger = logging.getLogger("chat2pay_async.settings")

_LARGEST_PORT: Final = 65535
_USUAL_PORTS: Final = {b"http": 80, b"https": 443}
_ENTRY: Final = re.compile(
    r"(?:\[(?P<inner>[^\]]*)\]|(?P<host>[^:@\[\]]*)|(?P<bare>[0-9a-f:.]+(?:/[0-9]+)?))"
    r"(?::(?P<port>[0-9]+|\*))?"
)
"""A host, or a network, and a port; an IPv6 one in brackets where a port follows."""
_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


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
        ConfigurationError: The proxy's URL can't be used.
    """
    target = httpx.URL(url)
    is_in_clear = target.scheme == "http"
    if proxy is not None:
        chosen = _proxy(proxy, "the argument `proxy`")
        if is_in_clear and not is_loopback(chosen.url.host.decode("ascii")):
            raise ConfigurationError(
                "plain http is for servers on this machine: a proxy elsewhere would be shown the "
                "API key; leave `proxy` out, or use https"
            )
        return chosen
    # It would be shown the API key, and could not reach a server on this machine or beside it.
    return None if is_in_clear or not trust_env else _proxy_of_environment(target)


def proxy_of(client: Any, url: Any) -> httpcore.URL | None:
    """Return the URL of the proxy that a user's client sends to a URL through.

    None where there is none, or where it can't be seen: it is not public.
    """
    choose = getattr(client, "_transport_for_url", None)
    carries = None if choose is None else choose(url)
    found: httpcore.URL | None = getattr(getattr(carries, "_pool", None), "_proxy_url", None)
    return found


def shown(url: httpcore.URL) -> str:
    """Show host and port of a proxy, and no password."""
    host = url.host.decode("ascii")
    port = url.port or _USUAL_PORTS.get(url.scheme, 1080)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _proxy_of_environment(url: httpx.URL) -> httpcore.Proxy | None:
    # On macOS and Windows it looks into the system's settings too.
    found = {name: cleaned(value) for name, value in urllib.request.getproxies().items()}
    is_exempt = _is_exempt(url, found.get("no", ""))
    applies = "" if is_exempt else url.scheme if found.get(url.scheme) else "all"
    chosen = None
    for name in filter(found.get, ("http", "https", "all")):
        value, source = found[name], f"{name.upper()}_PROXY"
        value = value if "://" in value else f"http://{value}"
        if name == applies:
            chosen = _proxy(value, source)
            continue
        try:
            _read(value, source)
        except ConfigurationError as error:
            _logger.warning("%s, and is not used", error)
    return chosen


def _is_exempt(url: httpx.URL, exemptions: str) -> bool:
    is_exempt = False
    for entry in exemptions.replace(",", " ").split():
        try:
            is_exempt = _matches(entry.lower(), url) or is_exempt
        except (ValueError, httpx.InvalidURL):
            shown = entry.rpartition("@")[2]
            _logger.warning("NO_PROXY has an entry that is no host, and is not used: %r", shown)
    return is_exempt


def _matches(entry: str, url: httpx.URL) -> bool:
    """Tell whether an entry of NO_PROXY is about a URL.

    Raises:
        ValueError: It can't be about any.
    """
    scheme, is_given, rest = entry.rpartition("://")
    found = _ENTRY.fullmatch(rest.rstrip("/"))
    if found is None:
        raise ValueError(entry)
    pattern = found["inner"] or found["host"] or found["bare"] or "*"
    is_of_host = _is_within(url.raw_host.decode("ascii").rstrip("."), pattern)
    port = url.port or (443 if url.scheme == "https" else 80)
    is_of_port = found["port"] in {None, "*", str(port)}
    return is_of_host and is_of_port and (not is_given or scheme in {"all", url.scheme})


def _is_within(host: str, pattern: str) -> bool:
    """Tell whether a host is, or is below, what a pattern names; an address is in a network."""
    if pattern == "*":
        return True
    address, network = _network(host), _network(pattern)
    if network is not None:
        # Of two versions, one is never within the other.
        return address is not None and address.network_address in network
    name = pattern.removeprefix("*").strip(".")
    name = name if name.isascii() else httpx.URL(f"https://{name}").raw_host.decode("ascii")
    if _NAME.fullmatch(name) is None:
        raise ValueError(pattern)
    return address is None and f".{host}".endswith(f".{name}")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _read(value: str | httpx.URL | httpx.Proxy, source: str) -> httpx.Proxy:
    """Read a proxy's URL.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(value, str):  # GNOME writes the first, and means the second
        value = re.sub("^socks://", "socks5://", cleaned(value), flags=re.IGNORECASE)
    try:
        proxy = value if isinstance(value, httpx.Proxy) else httpx.Proxy(value)
        port = 1 if proxy.url.port is None else proxy.url.port
        if proxy.url.host and 0 < port <= _LARGEST_PORT:
            return proxy
    except (TypeError, ValueError, httpx.InvalidURL):
        pass  # its text may hold a password
    raise ConfigurationError(
        "a proxy's URL must look like http://host:port (or https, socks5, socks5h), without "
        f"quotes; {source} does not"
    )


def _proxy(value: str | httpx.URL | httpx.Proxy, source: str) -> httpcore.Proxy:
    proxy = _read(value, source)
    if not all(text.isprintable() for field in proxy.headers.multi_items() for text in field):
        raise ConfigurationError(
            "a header for the proxy has characters that it can't carry: use printable ones only"
        )
    url = proxy.url
    if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f'a SOCKS proxy needs one more package: pip install "httpx[socks]"; {source} names one'
        )
    return httpcore.Proxy(
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=proxy.ssl_context,
    )
