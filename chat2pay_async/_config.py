"""The settings of a client: small immutable values, and the API key, which is never shown.

>>> RetryPolicy(max_attempts=2).maximum
8.0
>>> as_timeout(10)
Timeout(connect=10.0, read=10.0, write=10.0, total=90.0)
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import os
import re
import string
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Generic, TypeAlias, TypeGuard, TypeVar
from urllib.parse import urlsplit

import attrs

from chat2pay_async._reach import LOOPBACK_ONLY, reach
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "ApiKey",
    "HeaderFields",
    "Headers",
    "RetryPolicy",
    "Secret",
    "Timeout",
    "__version__",
    "as_retry",
    "as_timeout",
    "base_url_of",
    "check_reach",
    "cleaned",
    "is_loopback",
    "is_number",
    "key_of",
    "server_of",
]

__version__ = "0.1.0"
T = TypeVar("T")
DEFAULT_BASE_URL = "https://chat2pay-service.clickatell.com/"


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number that can be reckoned with: no bool, nan or infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max  # an int may be larger than any float


def _limit(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Demand seconds in which something can happen; None for no deadline (attrs validator)."""
    if value is None and attribute.name == "total":
        return
    if not is_number(value) or value <= 0:
        raise ConfigurationError(
            f"Timeout({attribute.name}=…) must be seconds, more than 0{_instead_of(value)}"
        )


def _instead_of(value: object) -> str:
    """Say what to pass instead of a value that elsewhere means *no limit*, or a duration."""
    if isinstance(value, timedelta):
        return "; pass its .total_seconds()"
    if value is None or (isinstance(value, (int, float)) and value in {0, math.inf}):
        return "; Timeout(total=None) has no deadline, and its other limits are always set"
    return ""


def _delay(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not is_number(value) or value < 0:
        raise ConfigurationError(f"RetryPolicy({attribute.name}=…) must be seconds, 0 or more")


@attrs.frozen
class Timeout:
    """The limits for the duration of a call, in seconds, each greater than 0.

    Raises:
        ConfigurationError: A limit is not such a number.
    """

    connect: float = attrs.field(default=5.0, validator=_limit)
    """For a connection to be made, TLS handshake included."""
    read: float = attrs.field(default=30.0, validator=_limit)
    """For the whole response, from the request's last byte on."""
    write: float = attrs.field(default=10.0, validator=_limit)
    """For each piece of the request."""
    total: float | None = attrs.field(default=90.0, validator=_limit)
    """A deadline over all of it: waiting for a connection, attempts, pauses, look-ups. None: no
    deadline. A lost response needs `read` and up to four times `RetryPolicy.settle` to be looked up
    in full; where the deadline comes first, the outcome stays unknown."""


def as_timeout(value: object) -> Timeout:
    """Return a `Timeout`; a number of seconds is for each of connect, read and write, as in httpx.

    The deadline stays that of `Timeout()`.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(value, Timeout):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        limit = math.inf if abs(value) > sys.float_info.max else float(value)
        return Timeout(connect=limit, read=limit, write=limit)
    what = type(value).__name__
    if what == "Timeout":  # httpx's, or httpx2's
        given = ", ".join(
            f"{name}={seconds}"
            for name in ("connect", "read", "write")
            if (seconds := getattr(value, name, None))  # 0 is no limit in some places
        )
        raise ConfigurationError(
            f"timeout must be a Timeout of chat2pay_async's, not one of "
            f"{type(value).__module__.partition('.')[0]}'s: pass chat2pay_async.Timeout({given})"
        )
    raise ConfigurationError(
        f"timeout must be a Timeout or seconds, not {what}{_instead_of(value)}"
    )


def _attempts(_instance: Any, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError("RetryPolicy(max_attempts=…) must be an int, 1 or more")


def _flag(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"RetryPolicy({attribute.name}=…) must be a bool")


@attrs.frozen
class RetryPolicy:
    """The attempts of a call, the delays between them, and what the service is trusted with.

    A POST whose response was lost is sent again only after a look-up said that it is absent. That
    rests on assumptions: the service applies a request, and shows it, within `settle` seconds;
    whoever answers 429 has not applied it (a proxy that repeats POSTs by itself can make this
    false); an integration update that was repeated does not arrive once more after a later one; and
    where look-ups do not show `sdkRequestId`, two processes do not create one order in the same
    minute (one journal keeps them apart).

    Raises:
        ConfigurationError: A value is out of range, or of a wrong type.
    """

    max_attempts: int = attrs.field(default=4, validator=_attempts)
    """Attempts in all; those that were throttled do not count."""
    initial: float = attrs.field(default=0.5, validator=_delay)
    """The first delay is random between 0 and this many seconds; it doubles with every attempt."""
    maximum: float = attrs.field(default=8.0, validator=_delay)
    """No delay is longer than this many seconds."""
    settle: float = attrs.field(default=10.0, validator=_delay)
    """Seconds within which the service is assumed to apply a request, and to show it in status
    look-ups, after its response was lost."""
    resend_when_absent: bool = attrs.field(default=True, validator=_flag)
    """True to retry a POST once a look-up after `settle` showed that it was not applied. If the
    service can take longer, that could apply it twice: False never sends it again."""
    stamp: bool = attrs.field(default=True, validator=_flag)
    """True to put a minted id (`sdkRequestId`) into a new link's `additional_data`: it identifies
    the link after a lost response."""


def as_retry(value: object) -> RetryPolicy:
    """Check that a value is a `RetryPolicy`.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(value, RetryPolicy):
        return value
    raise ConfigurationError(
        f"retry must be a RetryPolicy, not {type(value).__name__}: RetryPolicy(max_attempts=3)"
    )


class Secret(Generic[T]):
    """A value that no tool shows: it is unwrapped where it is used, and in no variable.

    Tools take mappings, sequences, text and bytes apart, whatever their `repr` says.
    """

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value = value

    def reveal(self) -> T:
        """Return the value itself."""
        return self.__value

    def __repr__(self) -> str:
        return f"{type(self).__name__}('***')"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


class ApiKey(Secret[str]):
    """The API key: `repr`, `str` and pickling do not show it."""

    __slots__ = ()

    def masked_in(self, text: str) -> str:
        """Mask the key in a text of the service."""
        return text.replace(self.reveal(), "***")

    @property
    def fingerprint(self) -> str:
        """Hash the key: it tells keys apart, and can't be turned back into one."""
        digest = hashlib.sha256(b"chat2pay_async:" + self.reveal().encode())
        return digest.hexdigest()[:16]

    def __reduce__(self) -> str:
        raise TypeError("an API key is not pickled; read it from CHAT2PAY_API_KEY where it is used")


class Headers:
    """The headers of every request. No mapping, since one is the key: see `Secret`."""

    __slots__ = ("_names", "_secret")

    def __init__(self, fields: Mapping[str, str]) -> None:
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        raw = tuple((name.encode("ascii"), value.encode("ascii")) for name, value in fields.items())
        self._names = tuple(fields)
        self._secret = Secret((lines, raw))

    @classmethod
    def of(cls, fields: HeaderFields) -> Headers:
        """Return headers as they are; make them of a mapping."""
        return fields if isinstance(fields, Headers) else cls(fields)

    @property
    def lines(self) -> str:
        """As HTTP/1.1 writes them."""
        return self._secret.reveal()[0]

    @property
    def raw(self) -> tuple[tuple[bytes, bytes], ...]:
        """As httpx takes them."""
        return self._secret.reveal()[1]

    def __repr__(self) -> str:
        return f"<headers {list(self._names)}>"


HeaderFields: TypeAlias = Headers | Mapping[str, str]
"""Headers, or a mapping that has no secret."""


def cleaned(text: str) -> str:
    """Drop what files and shells put around a setting: blanks, newlines, a byte order mark."""
    return text.strip(f"\ufeff{string.whitespace}").strip()


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`"


def key_of(value: str | None) -> ApiKey:
    """Return the given key. Default: the one in CHAT2PAY_API_KEY.

    Raises:
        ConfigurationError: There is none, or it can't stand in a header.
    """
    given: object = os.environ.get("CHAT2PAY_API_KEY", "") if value is None else value
    key = cleaned(given) if isinstance(given, str) else ""
    if not key:
        raise ConfigurationError(
            'no API key: pass AsyncChat2Pay("…") or set the environment variable CHAT2PAY_API_KEY'
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError(
            "the API key has characters that a header can't carry: copy it again, printable ASCII "
            "only"
        )
    if _is_quoted(key):  # of a file for `docker run --env-file`, where quotes belong to the value
        raise ConfigurationError("the API key has quotes around it: write it without them")
    return ApiKey(key)


_NAME: Final = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_ALLOW_HTTP: Final = "CHAT2PAY_ALLOW_HTTP"
_API: Final = "/api/v2"
"""All paths of the API begin with it."""


def base_url_of(value: object, allow_http_hosts: Iterable[str] = ()) -> str:
    """Return the base URL without a final slash. Default: CHAT2PAY_BASE_URL, else production.

    Args:
        value: The base URL.
        allow_http_hosts: The hosts that may be asked in plain http, besides this machine and those
            of CHAT2PAY_ALLOW_HTTP.

    Raises:
        ConfigurationError: It is not a URL that a key may be sent to.
    """
    default = cleaned(os.environ.get("CHAT2PAY_BASE_URL", "")) or DEFAULT_BASE_URL
    given = default if value is None else cleaned(str(value))
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if not host or parts.scheme not in _USUAL_PORTS or port == 0 or not given.isascii():
        raise ConfigurationError(
            "the base URL must look like https://host/ (an international name in its xn-- form)"
            + (", without quotes" if _is_quoted(given) else "")
        )
    # The text itself is looked at: an empty query (`https://host/?`) would swallow the path.
    if "@" in parts.netloc or not given.isprintable() or any(mark in given for mark in "?# "):
        raise ConfigurationError(
            "the base URL must have no user, query, fragment or blanks: write https://host/"
        )
    if not _is_host(host) or ("[" in parts.netloc) != (":" in host):
        raise ConfigurationError(f"the base URL has no valid host: {host!r}")
    if parts.scheme == "http" and not (is_loopback(host) or host in _http_hosts(allow_http_hosts)):
        raise ConfigurationError(
            "plain http would show the API key and the payments to the network: use https (http is "
            "for servers on this machine, and for a sandbox on a host that allow_http_hosts or "
            f"{_ALLOW_HTTP} names)"
        )
    front, version, _ = f"{parts.path}/".partition(f"{_API}/")
    netloc = parts.netloc.lower().removesuffix(f":{_USUAL_PORTS[parts.scheme]}").removesuffix(":")
    url = f"{parts.scheme}://{netloc}{front.rstrip('/')}"
    if version:
        raise ConfigurationError(
            f"the base URL ends before {_API}, which every request adds by itself: write {url}"
        )
    return url


def server_of(base_url: str) -> tuple[str, int]:
    """Return the host and the port of a base URL."""
    url = urlsplit(base_url)
    return url.hostname or "", url.port or _USUAL_PORTS[url.scheme]


def _http_hosts(given: Iterable[str]) -> set[str]:
    """Return the hosts for plain http: those given, and those of the environment.

    Raises:
        ConfigurationError: One text is given, whose letters would be taken for hosts.
    """
    if isinstance(given, (str, bytes)):
        raise ConfigurationError('allow_http_hosts must be a list of hosts, such as ["sandbox"]')
    named = re.split(r"[\s,]+", os.environ.get(_ALLOW_HTTP, ""))
    return {host.strip("[]").lower() for host in (*given, *named)}


def _is_host(host: str) -> bool:
    """Tell whether a host is a name or an address; addresses with a zone are not taken."""
    numbers = host.rstrip(".").rpartition(".")[2]
    if ":" not in host and not numbers.isdigit():
        return _NAME.fullmatch(host) is not None
    try:
        return "%" not in str(ipaddress.ip_address(host))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    host = host.lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_reach(host: str) -> None:
    """Refuse a host that is not this machine, where tests run that may reach no other.

    Raises:
        ConfigurationError: It is one.
    """
    if reach.is_loopback_only and not is_loopback(host):
        raise ConfigurationError(
            f"not sent to {host}, since tests reach this machine alone ({LOOPBACK_ONLY}): use the "
            "fixture chat2pay_sandbox, mock the request, or mark the test chat2pay_live (or pass "
            "--chat2pay-live) to send it for real"
        )
