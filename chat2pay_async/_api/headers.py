"""The headers of every request: the key, what the API needs, and what a user adds.

The key is always the same, or a callable returns it before each attempt. Nothing here logs one.
"""

from __future__ import annotations

import inspect
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

from chat2pay_async._config import ApiKey, Headers, __version__, key_of
from chat2pay_async.errors import ConfigurationError

__all__ = ["AskForKey", "KeySource", "RequestHeaders", "added_headers", "key_or_source"]

AskForKey: TypeAlias = Callable[[], str | Awaitable[str]]
"""Returns the API key, or something to await for it."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_COMMENT: Final = re.compile(r"[!-'*-\[\]-~]+")
"""The characters of a comment in a header: no blanks, parentheses or backslashes."""

_OWN: Final = {
    "authorization": "pass api_key",
    "user-agent": "pass app_info",
    "host": "pass base_url",
    "idempotency-key": "it would be the same for all requests",
}
_FRAMING: Final = frozenset(
    {
        *("accept", "accept-encoding", "cache-control", "connection", "expect", "keep-alive"),
        *("pragma", "range", "te", "trailer", "transfer-encoding", "upgrade"),
        *("x-http-method", "x-http-method-override", "x-method-override"),
    }
)
_FRAMING_FAMILIES: Final = ("content-", "if-", "http2-", "proxy-", "sec-")
"""Headers by which somebody on the way may read a request, or its response, differently."""
_PLAIN: Final = re.compile(r"[A-Za-z-]+")
"""A header's name that is no card number, and hardly a key, so that an error may show it."""


class RequestHeaders(NamedTuple):
    """The headers of one key's requests."""

    plain: Headers
    with_body: Headers
    look_up: Headers

    @classmethod
    def of(cls, key: ApiKey, added: Mapping[str, str]) -> RequestHeaders:
        """Make the headers of a key's requests, with those that a client adds."""
        common = {"Authorization": key.reveal(), "Accept": "application/json", **added}
        return cls(
            Headers(common),
            Headers(common | {"Content-Type": "application/json"}),
            # No cache on the way may answer it.
            Headers(common | {"Cache-Control": "no-cache"}),
        )


def added_headers(default_headers: object, app_info: object) -> dict[str, str]:
    """Return the headers that a client adds to its key and its kind of body.

    Args:
        default_headers: The user's, as names and values.
        app_info: The user's program: its `name`, and perhaps `version` and `url`.

    Raises:
        ConfigurationError: One of them can't be sent, or is not the user's to set.
    """
    headers = {"User-Agent": f"chat2pay-async/{__version__}{_app(app_info)}"}
    if default_headers is None:
        return headers
    if not isinstance(default_headers, Mapping):
        raise ConfigurationError(
            f"default_headers must be a dict of names and values, not {_kind(default_headers)}"
        )
    given: Mapping[Any, Any] = default_headers
    seen = set[str]()
    for place, (name, value) in enumerate(given.items(), 1):
        is_plain = isinstance(name, str) and _PLAIN.fullmatch(name)
        shown = name if is_plain else f"entry {place}"
        _check_header(name, value, shown)
        if name.lower() in seen:
            raise ConfigurationError(
                f"default_headers: {shown} repeats an earlier name; case does not matter"
            )
        seen.add(name.lower())
    return headers | dict(given)


def _check_header(name: object, value: object, shown: str) -> None:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ConfigurationError(
            f"default_headers: the name of {shown} is not that of a header: letters, digits and "
            "marks such as -, no blanks or colons"
        )
    lower = name.lower()
    if lower in _FRAMING or lower in _OWN or lower.startswith(_FRAMING_FAMILIES):
        why = _OWN.get(lower, "this client sets what says how to read a request")
        raise ConfigurationError(f"default_headers may not have {shown}: {why}")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise ConfigurationError(
            f"default_headers: the value of {shown} must be a str of printable ASCII, without "
            "blanks around it"
        )


def _app(app_info: object) -> str:
    """Write the user's program as a part of the User-Agent."""
    if app_info is None:
        return ""
    given: Any = app_info
    if not isinstance(app_info, Mapping) or not {*given} <= {"name", "version", "url"}:
        raise ConfigurationError(
            'app_info must be a dict with "name", and perhaps "version" and "url"'
        )
    name, version, url = (given.get(field) for field in ("name", "version", "url"))
    for field, text in (("name", name or ""), ("version", version)):
        if text is not None and not (isinstance(text, str) and _TOKEN.fullmatch(text)):
            raise ConfigurationError(
                f"app_info's {field} must be letters, digits and marks such as - and ., no blanks"
            )
    if url is not None and not (isinstance(url, str) and _COMMENT.fullmatch(url)):
        raise ConfigurationError("app_info's url must be printable ASCII without blanks or ()")
    return f" {name}{f'/{version}' if version else ''}{f' ({url})' if url else ''}"


def _kind(value: object) -> str:
    return type(value).__name__


# The key ------------------------------------------------------------------------------------------


class KeySource:
    """A callable that returns the API key, and fingerprints of the keys that it has returned."""

    MOST: Final = 1_000

    def __init__(self, ask: AskForKey) -> None:
        self._ask = ask
        self.name: Hashable = id(ask)
        """The same for all that ask the same callable."""
        with suppress(TypeError):  # it has no hash
            hash(ask)
            self.name = ask
        self._fingerprints: OrderedDict[str, None] = OrderedDict()

    async def ask(self) -> ApiKey:
        """Ask for the key of an attempt.

        Raises:
            ConfigurationError: What it returns is no key.
            Exception: Whatever it raises.
        """
        given: object = self._ask()
        if inspect.isawaitable(given):
            given = await given
        if not isinstance(given, str) or not given.strip():
            what = "an empty one" if isinstance(given, str) else _kind(given)
            raise ConfigurationError(f"the api_key callable must return a key, not {what}")
        key = key_of(given)
        self._fingerprints[key.fingerprint] = None
        self._fingerprints.move_to_end(key.fingerprint)
        if len(self._fingerprints) > self.MOST:
            self._fingerprints.popitem(last=False)
        return key

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the latest key; empty before there was one."""
        return next(reversed(self._fingerprints), "")

    def has_returned(self, fingerprint: str) -> bool:
        """Tell whether one of its latest keys has this fingerprint."""
        return fingerprint in self._fingerprints


def key_or_source(given: str | AskForKey | None) -> ApiKey | KeySource:
    """Return the key, or what to ask for it. Default: the one in CHAT2PAY_API_KEY.

    Raises:
        ConfigurationError: There is none, or it can't stand in a header.
    """
    return KeySource(given) if callable(given) else key_of(given)
