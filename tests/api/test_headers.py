"""The headers of every request, and where the key in them comes from."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import fields_of

from chat2pay_async import ConfigurationError
from chat2pay_async._api.headers import KeySource, RequestHeaders, added_headers, key_or_source
from chat2pay_async._config import ApiKey, __version__

OWN_AGENT = f"chat2pay-async/{__version__}"
KEY = "k-5f3c9b7e21"


def test_the_headers_of_a_key_are_its_own_and_those_that_are_added() -> None:
    headers = RequestHeaders.of(ApiKey(KEY), {"User-Agent": "a", "X-Gateway": "g"})
    common = {
        "Authorization": KEY,
        "Accept": "application/json",
        "User-Agent": "a",
        "X-Gateway": "g",
    }
    assert fields_of(headers.plain) == common
    assert fields_of(headers.with_body) == {**common, "Content-Type": "application/json"}
    assert fields_of(headers.look_up) == {**common, "Cache-Control": "no-cache"}
    assert KEY not in repr(headers)


def test_a_users_headers_are_added_as_they_are() -> None:
    added = added_headers({"X-Gateway": "a b", "x-team": "1", "Cookie": "c=d"}, None)
    assert added == {"User-Agent": OWN_AGENT, "X-Gateway": "a b", "x-team": "1", "Cookie": "c=d"}


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Authorization", "pass api_key"),
        ("user-agent", "pass app_info"),
        ("Host", "pass base_url"),
        ("Idempotency-Key", "the same for all requests"),
        ("X-HTTP-Method-Override", "how to read a request"),
        *(
            (name, "how to read a request")
            for name in (
                *("Content-Length", "content-type", "Content-Encoding", "Transfer-Encoding"),
                *("Connection", "Accept", "Accept-Encoding", "Cache-Control", "Expect", "TE"),
                *("If-None-Match", "Range", "Upgrade", "Proxy-Authorization", "Sec-Fetch-Mode"),
            )
        ),
    ],
)
def test_a_header_that_is_this_clients_own_is_refused(name: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice) as caught:
        added_headers({name: "v-secret"}, None)
    assert name in str(caught.value)
    assert "v-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["X-A"], "a dict of names and values, not list"),
        ({"X A": "1"}, "name of entry 1 is not that of a header"),
        ({"X-A\r\n": "1"}, "name of entry 1 is not that of a header"),
        ({"X-A": "1", "X-B": "2", "X-C:": "3"}, "name of entry 3 is not that of a header"),
        ({b"X-A": "1"}, "name of entry 1 is not that of a header"),
        ({"": "1"}, "name of entry 1 is not that of a header"),
        ({"X-A": "1", "x-a": "2"}, "x-a repeats an earlier name"),
        ({"X-1": "1", "x-1": "2"}, "entry 2 repeats an earlier name"),
        ({"X-1": "1", "X-2": ""}, "value of entry 2 must be"),
        ({"sec-4111111111111111": "1"}, "may not have entry 1: this client sets"),
        *(
            ({"X-A": value}, "value of X-A must be a str of printable ASCII")
            for value in ("a\r\nX-B: c", "a\n", "", " a", "a ", "é", b"a", 1, None)
        ),
    ],
    ids=repr,
)
def test_a_header_that_cant_be_sent_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        added_headers(given, None)


@pytest.mark.parametrize(
    ("app", "agent"),
    [
        ({"name": "my-shop"}, "my-shop"),
        ({"name": "my-shop", "version": "1.2+3"}, "my-shop/1.2+3"),
        ({"name": "shop", "url": "https://shop.test/x?y=1"}, "shop (https://shop.test/x?y=1)"),
        (
            {"name": "shop", "version": "1", "url": "https://shop.test"},
            "shop/1 (https://shop.test)",
        ),
        ({"name": "shop", "version": None, "url": None}, "shop"),
    ],
    ids=str,
)
def test_a_users_program_stands_in_the_user_agent(app: Any, agent: str) -> None:
    assert added_headers(None, app) == {"User-Agent": f"{OWN_AGENT} {agent}"}


@pytest.mark.parametrize(
    ("app", "problem"),
    [
        ("shop/1", "must be a dict"),
        ({"name": "shop", "homepage": "x"}, "must be a dict"),
        ({"version": "1"}, "name must be"),
        ({"name": "my shop"}, "name must be"),
        ({"name": "shop/1"}, "name must be"),
        ({"name": 1}, "name must be"),
        ({"name": "shop", "version": ""}, "version must be"),
        ({"name": "shop", "version": "1\r\nX: y"}, "version must be"),
        ({"name": "shop", "url": "a b"}, "url must be"),
        ({"name": "shop", "url": "a)("}, "url must be"),
        ({"name": "shop", "url": "é"}, "url must be"),
        ({"name": "shop", "url": 1}, "url must be"),
    ],
    ids=str,
)
def test_a_program_that_cant_stand_in_a_header_is_refused(app: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"app_info('s)? {problem}"):
        added_headers(None, app)


# The key ------------------------------------------------------------------------------------------


class Returned:
    """Something to await that is no coroutine."""

    def __await__(self) -> Any:
        return returned().__await__()


async def returned() -> str:
    return KEY


@pytest.mark.anyio
@pytest.mark.parametrize("ask", [lambda: KEY, returned, Returned, lambda: f" {KEY}\n"])
async def test_a_callable_returns_the_key_or_something_to_await_for_it(ask: Any) -> None:
    source = key_or_source(ask)
    assert isinstance(source, KeySource)
    assert source.fingerprint == ""
    assert (await source.ask()).reveal() == KEY
    assert source.fingerprint == ApiKey(KEY).fingerprint


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "must return a key, not NoneType"),
        ("", "must return a key, not an empty one"),
        (" \n", "must return a key, not an empty one"),
        (b"key", "must return a key, not bytes"),
        ("ké-secret", "characters that a header can't carry"),
        ("k-secret\r\nX: y", "characters that a header can't carry"),
    ],
    ids=repr,
)
async def test_what_is_no_key_is_refused_and_not_shown(
    given: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT2PAY_API_KEY", "the-environments")
    with pytest.raises(ConfigurationError, match=problem) as caught:
        await KeySource(lambda: given).ask()
    assert "secret" not in str(caught.value)


@pytest.mark.anyio
async def test_a_source_knows_the_latest_of_its_keys_again() -> None:
    keys = iter([*(f"k-{number}" for number in range(KeySource.MOST + 1)), "k-1", "k-new"])
    source = KeySource(lambda: next(keys))
    for _ in range(KeySource.MOST + 1):
        await source.ask()
    known = [source.has_returned(ApiKey(f"k-{number}").fingerprint) for number in (0, 1, 1000)]
    assert known == [False, True, True]
    await source.ask()
    await source.ask()
    assert source.has_returned(ApiKey("k-1").fingerprint), "it was used again"
    assert not source.has_returned(ApiKey("k-2").fingerprint)


def test_a_text_is_the_key_itself() -> None:
    key = key_or_source(KEY)
    assert isinstance(key, ApiKey)
    assert key.reveal() == KEY
    assert isinstance(key_or_source(str), KeySource), "whatever can be called is asked"
