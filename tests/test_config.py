"""Settings are checked where they are given, and the key is never shown."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import attrs
import httpx
import pytest

from chat2pay_async import _config
from chat2pay_async._config import (
    ApiKey,
    Headers,
    RetryPolicy,
    Timeout,
    as_retry,
    as_timeout,
    base_url_of,
    key_of,
)
from chat2pay_async.errors import ConfigurationError

SECRET = "Zx9-secret-key=="
KEY_VARIABLE, URL_VARIABLE = "CHAT2PAY_API_KEY", "CHAT2PAY_BASE_URL"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv(URL_VARIABLE, raising=False)


# The key ------------------------------------------------------------------------------------------


def test_the_given_key_is_used_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "other")
    assert key_of(SECRET).reveal() == SECRET


def test_the_environments_key_is_used_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    assert key_of(None).reveal() == SECRET


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "\n{}", "  {}\t", "\ufeff{}", "\ufeff {}\n"])
def test_blanks_and_newlines_around_a_key_are_dropped(
    around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert key_of(around.format(SECRET)).reveal() == SECRET
    monkeypatch.setenv(KEY_VARIABLE, around.format(SECRET))
    assert key_of(None).reveal() == SECRET


@pytest.mark.parametrize("given", [None, "", " ", "\n"])
def test_no_key_is_an_error_that_says_where_to_put_it(given: str | None) -> None:
    with pytest.raises(ConfigurationError, match=KEY_VARIABLE):
        key_of(given)


@pytest.mark.parametrize("value", ["", "  "])
def test_a_blank_key_in_the_environment_is_none(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(ConfigurationError, match="no API key"):
        key_of(None)


def test_a_blank_key_does_not_fall_back_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    with pytest.raises(ConfigurationError, match="no API key"):
        key_of("")


@pytest.mark.parametrize(
    "key", ["Zx9\nq", "Zx9\r\nX-Evil: 1", "Zx9\x00q", "Zx9\x7fq", "Zx9é", "Zx9“"]
)
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="header") as refused:
        key_of(key)
    assert "Zx9" not in str(refused.value)


@pytest.mark.parametrize("quote", list("\"'`"))
def test_a_key_in_quotes_is_refused_without_showing_it(
    quote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f"{quote}{SECRET}{quote}\n")
    with pytest.raises(ConfigurationError, match="quotes") as refused:
        key_of(None)
    assert SECRET not in str(refused.value)
    assert key_of(f"{quote}{SECRET}").reveal() == f"{quote}{SECRET}"


@pytest.mark.parametrize("shown", ["{}", "{!s}", "{!r}", "{!a}", "{:>30}"])
def test_a_key_shows_itself_to_no_one(shown: str) -> None:
    try:
        text = shown.format(ApiKey(SECRET))
    except TypeError as refused:  # an alignment is nothing that it knows
        text = str(refused)
    assert SECRET not in text
    assert SECRET not in f"{[ApiKey(SECRET)]}"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_is_not_pickled(duplicate: Any) -> None:
    with pytest.raises(TypeError, match=KEY_VARIABLE) as refused:
        duplicate(ApiKey(SECRET))
    assert SECRET not in str(refused.value)


def test_a_fingerprint_is_the_same_in_every_process_and_shows_no_key() -> None:
    # Stored beside unsettled calls: it must not change between versions.
    assert ApiKey("sandbox-key").fingerprint == FINGERPRINT
    assert SECRET not in ApiKey(SECRET).fingerprint


FINGERPRINT = "ff4bb5c9c4dba336"


def test_fingerprints_tell_keys_apart() -> None:
    keys = [f"key-{number}" for number in range(1000)]
    assert len({ApiKey(key).fingerprint for key in keys}) == len(keys)


def test_headers_show_their_names_only() -> None:
    headers = Headers({"Authorization": SECRET, "Accept": "application/json"})
    assert repr(headers) == str(headers) == "<headers ['Authorization', 'Accept']>"
    assert not isinstance(headers, Mapping), "tools take mappings apart, whatever their repr says"
    assert vars(type(headers)).keys().isdisjoint({"__dict__", "__iter__", "__getitem__"})
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(headers)


def test_headers_are_made_of_a_mapping_once() -> None:
    headers = Headers({"Accept": "application/json"})
    assert Headers.of(headers) is headers
    assert Headers.of({"Accept": "application/json"}).raw == headers.raw


# The base URL -------------------------------------------------------------------------------------


def test_the_services_own_base_url_is_the_default() -> None:
    assert base_url_of(None) == "https://chat2pay-service.clickatell.com"


def test_the_environments_base_url_is_used_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:8000/")
    assert base_url_of(None) == "http://127.0.0.1:8000"
    assert base_url_of("https://chat2pay.example") == "https://chat2pay.example"


@pytest.mark.parametrize("value", ["", " ", "\r\n", "\ufeff"])
def test_a_blank_base_url_in_the_environment_is_none(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, value)
    assert base_url_of(None) == "https://chat2pay-service.clickatell.com"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://chat2pay.example", "https://chat2pay.example"),
        ("https://chat2pay.example/", "https://chat2pay.example"),
        ("https://chat2pay.example//", "https://chat2pay.example"),
        ("https://chat2pay.example:8443/", "https://chat2pay.example:8443"),
        ("https://gateway.example/chat2pay", "https://gateway.example/chat2pay"),
        ("https://gateway.example/chat2pay/", "https://gateway.example/chat2pay"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("HTTPS://Chat2Pay.example", "https://chat2pay.example"),
        ("https://chat2pay.example:443", "https://chat2pay.example"),
        ("https://chat2pay.example:", "https://chat2pay.example"),
        ("https://[2001:DB8::443]:443/Gateway", "https://[2001:db8::443]/Gateway"),
        ("https://chat2pay.example.", "https://chat2pay.example."),
        ("https://gateway.example/api", "https://gateway.example/api"),
        ("https://gateway.example/api/v20", "https://gateway.example/api/v20"),
        ("http://localhost", "http://localhost"),
        ("http://LOCALHOST:8000/", "http://localhost:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://foo.localhost:8000", "http://foo.localhost:8000"),
    ],
)
def test_a_base_url_is_used_without_its_final_slash(given: str, used: str) -> None:
    assert base_url_of(given) == used


HTTP_VARIABLE = "CHAT2PAY_ALLOW_HTTP"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://sandbox:8080", ["sandbox"]),
        ("http://SANDBOX:8080", ["other", "Sandbox"]),
        ("http://10.0.0.5", ["10.0.0.5"]),
        ("http://[2001:db8::1]:8080", ["[2001:db8::1]"]),
        ("http://[2001:db8::1]:8080", ["2001:db8::1"]),
    ],
)
def test_plain_http_is_allowed_to_the_hosts_that_are_named(
    url: str, hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_url_of(url, hosts) == url.lower()
    monkeypatch.setenv(HTTP_VARIABLE, ", ".join(hosts))
    assert base_url_of(url) == url.lower()
    with pytest.raises(ConfigurationError, match=HTTP_VARIABLE):
        base_url_of("http://elsewhere", hosts)


def test_hosts_for_plain_http_are_no_single_text() -> None:
    with pytest.raises(ConfigurationError, match=r"allow_http_hosts must be a list of hosts"):
        base_url_of("http://sandbox", "sandbox")


AROUND = ["{}\n", "{}\r\n", "\n{}", "  {}\t", "\ufeff{}", "\ufeff {}\r\n", "\xa0{}"]
"""Characters that files and shells put around a setting."""


@pytest.mark.parametrize("around", AROUND)
def test_blanks_and_newlines_around_a_base_url_are_dropped(
    around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = around.format("https://gateway.example/")
    assert base_url_of(given) == "https://gateway.example"
    monkeypatch.setenv(URL_VARIABLE, given)
    assert base_url_of(None) == "https://gateway.example"


@pytest.mark.parametrize("quoted", ['"https://chat2pay.example"', "'https://chat2pay.example'"])
def test_a_base_url_in_quotes_is_refused_with_what_is_wrong(quoted: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must look like .*, without quotes$"):
        base_url_of(quoted)


@pytest.mark.parametrize(
    ("given", "to_write"),
    [
        ("https://chat2pay.example/api/v2", "https://chat2pay.example"),
        ("https://chat2pay.example/api/v2/", "https://chat2pay.example"),
        ("https://chat2pay.example:8443/api/v2/chat-2-pay", "https://chat2pay.example:8443"),
        ("https://gateway.example/c2p//api/v2", "https://gateway.example/c2p"),
    ],
)
def test_a_base_url_with_the_apis_own_path_is_refused_with_the_one_to_write(
    given: str, to_write: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"adds by itself: write {re.escape(to_write)}$"):
        base_url_of(given)


@pytest.mark.parametrize(
    "host",
    [
        "chat2pay..example",
        ".example",
        "*",
        "a<b>",
        "a\\b",
        "chat2pay.example;x",
        "chat2pay.example,b",
        "%63hat2pay.example",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "999.1.1.1",
        "1.2.3",
        "127.1",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[v1.x]",
    ],
)
def test_a_base_url_whose_host_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no valid host|must look like https://host/"):
        base_url_of(f"https://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://chat2pay.example",
        "http://10.0.0.1",
        "http://192.168.1.1:8000",
        "http://0.0.0.0",
        "http://[2001:db8::1]",
        "http://localhost.example",
        "http://notlocalhost",
        "http://127.0.0.1.example",
        "HTTP://chat2pay.example",
    ],
)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="use https"):
        base_url_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user@chat2pay.example",
        "https://user:pass@chat2pay.example",
        "https://@chat2pay.example",
        "http://localhost@chat2pay.example",
        "https://chat2pay.example?a=1",
        "https://chat2pay.example/?",
        "https://chat2pay.example#top",
        "https://chat2pay.example/#",
        "https://chat2pay.example/a b",
        "https://chat2\tpay.example",
        "https://chat2pay.example/\x00",
        "https://chat2pay.example/\x7f",
    ],
)
def test_a_base_url_with_more_than_host_and_path_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no user, query, fragment or blanks"):
        base_url_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "chat2pay.example",
        "//chat2pay.example",
        "ftp://chat2pay.example",
        "file:///etc/passwd",
        "https://",
        "https:///api",
        "https:chat2pay.example",
        "https://:443",
        "https://chat2pay.example:port",
        "https://chat2pay.example:99999",
        "https://chat2pay.example:0",
        "chat2pay.example:8080",
        "localhost:8000",
        "https://[::1",
        "https://bücher.example",
        "https://chat2pay.example/ü",
    ],
)
def test_a_malformed_base_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must look like https://host/"):
        base_url_of(url)


# Seconds and attempts -----------------------------------------------------------------------------


def _brief(value: object) -> str:
    return repr(value)[:20]


NO_SECONDS = [
    *(-1, -0.001, float("nan"), float("inf"), float("-inf"), 10**400, -(10**400)),
    *(True, "5", b"5", [5], timedelta(seconds=5), Decimal(5)),
]


def test_the_default_timeout_has_a_deadline_of_90_seconds() -> None:
    assert Timeout() == Timeout(connect=5.0, read=30.0, write=10.0, total=90.0)


@pytest.mark.parametrize("value", [*NO_SECONDS, 0, 0.0, -0.0], ids=_brief)
@pytest.mark.parametrize("name", ["connect", "read", "write", "total"])
def test_a_timeout_in_which_nothing_can_happen_is_refused(name: str, value: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"Timeout\({name}=…\) must be seconds, more than"
    ):
        Timeout(**{name: value})


@pytest.mark.parametrize("name", ["connect", "read", "write"])
def test_only_the_deadline_may_be_left_open(name: str) -> None:
    given: dict[str, Any] = {name: None}
    with pytest.raises(ConfigurationError, match=name):
        Timeout(**given)
    assert Timeout(total=None).total is None


@pytest.mark.parametrize("value", [1e-9, 0.5, 3600, 1e9])
def test_any_finite_number_of_seconds_above_zero_is_a_timeout(value: float) -> None:
    timeout = Timeout(connect=value, read=value, write=value, total=value)
    assert attrs.astuple(timeout) == (value, value, value, value)


@pytest.mark.parametrize("number", [10, 10.0, 0.25, 600])
def test_a_number_is_the_limit_of_each_phase_and_leaves_the_deadline(number: float) -> None:
    assert as_timeout(number) == Timeout(connect=number, read=number, write=number, total=90.0)


def test_a_timeout_stays_itself() -> None:
    timeout = Timeout(total=7)
    assert as_timeout(timeout) is timeout


@pytest.mark.parametrize("value", [True, "10", (1, 2), Decimal(5)], ids=repr)
def test_a_timeout_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"a Timeout or seconds, not \w+$"):
        as_timeout(value)


@pytest.mark.parametrize(
    ("given", "to_pass"),
    [
        (httpx.Timeout(7.0), "Timeout(connect=7.0, read=7.0, write=7.0)"),
        (httpx.Timeout(5.0, read=60), "Timeout(connect=5.0, read=60, write=5.0)"),
        (httpx.Timeout(None, read=1.5), "Timeout(read=1.5)"),
        (httpx.Timeout(None), "Timeout()"),
        (httpx.Timeout(0, read=3), "Timeout(read=3)"),
    ],
    ids=repr,
)
def test_a_timeout_of_httpx_is_refused_with_the_one_to_pass(given: Any, to_pass: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not one of httpx2?'s: pass") as refused:
        as_timeout(given)
    assert str(refused.value).endswith(f"pass chat2pay_async.{to_pass}")


@pytest.mark.parametrize("value", [0, 0.0, None, float("inf"), 10**400], ids=_brief)
def test_a_timeout_that_means_for_ever_elsewhere_is_refused_with_what_to_pass(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"; Timeout\(total=None\) has no deadline"):
        as_timeout(value)


def test_a_limit_that_means_for_ever_elsewhere_is_refused_with_what_to_pass() -> None:
    for value in (0, float("inf")):
        with pytest.raises(ConfigurationError, match=r"; Timeout\(total=None\) has no deadline"):
            Timeout(read=value)


def test_a_timedelta_is_refused_with_what_to_pass() -> None:
    seconds: Any = timedelta(seconds=5)
    with pytest.raises(ConfigurationError, match=r"not timedelta; pass its \.total_seconds\(\)$"):
        as_timeout(seconds)
    with pytest.raises(ConfigurationError, match=r"; pass its \.total_seconds\(\)$"):
        Timeout(total=seconds)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 10**400], ids=_brief)
def test_a_number_that_is_no_number_of_seconds_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match="must be seconds, more than 0"):
        as_timeout(value)


def test_the_default_policy_makes_four_attempts() -> None:
    assert RetryPolicy() == RetryPolicy(
        max_attempts=4,
        initial=0.5,
        maximum=8.0,
        settle=10.0,
        resend_when_absent=True,
        stamp=True,
    )


@pytest.mark.parametrize("value", [*NO_SECONDS, None], ids=_brief)
@pytest.mark.parametrize("name", ["initial", "maximum", "settle"])
def test_a_delay_that_is_no_number_of_seconds_is_refused(name: str, value: Any) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=rf"RetryPolicy\({name}=…\) must be seconds"):
        RetryPolicy(**given)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, 2.5, "3", None, float("nan")], ids=repr)
def test_attempts_are_counted_from_one(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_attempts"):
        RetryPolicy(max_attempts=value)
    assert RetryPolicy(max_attempts=1).max_attempts == 1


@pytest.mark.parametrize("seconds", [0, 0.5, 60, 1e9])
def test_settle_takes_any_finite_number_of_seconds(seconds: float) -> None:
    assert RetryPolicy(settle=seconds).settle == seconds


@pytest.mark.parametrize("value", [0, 1, None, "yes", "", []], ids=repr)
@pytest.mark.parametrize("name", ["resend_when_absent", "stamp"])
def test_a_switch_is_on_or_off(name: str, value: Any) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=rf"RetryPolicy\({name}=…\) must be a bool"):
        RetryPolicy(**given)
    for chosen in (True, False):
        assert getattr(RetryPolicy(**{name: chosen}), name) is chosen


@pytest.mark.parametrize("settings", [Timeout(), RetryPolicy()])
def test_settings_are_frozen_and_travel(settings: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.read = 1
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes
    assert hash(settings) == hash(copy.copy(settings))


def test_the_version_is_a_version() -> None:
    assert [part.isdecimal() for part in _config.__version__.split(".")] == [True, True, True]


@pytest.mark.parametrize("key", [123, b"key", ["key"]])
def test_a_key_that_is_no_text_is_no_key(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="no API key"):
        key_of(key)


def test_a_base_url_may_be_an_object_of_httpx() -> None:
    assert base_url_of(httpx.URL("https://gateway.test/c2p/")) == "https://gateway.test/c2p"


def test_headers_are_written_for_the_connection_and_for_httpx() -> None:
    headers = Headers({"accept": "application/json", "authorization": "s3cret"})
    assert headers.lines == "accept: application/json\r\nauthorization: s3cret\r\n"
    assert headers.raw == ((b"accept", b"application/json"), (b"authorization", b"s3cret"))
    assert "s3cret" not in repr(headers)


@pytest.mark.parametrize("value", [None, 3, {"max_attempts": 3}])
def test_only_a_retry_policy_is_taken_for_one(value: object) -> None:
    policy = RetryPolicy(max_attempts=2)
    assert as_retry(policy) is policy
    with pytest.raises(ConfigurationError, match=r"not \w+: RetryPolicy\(max_attempts=3\)"):
        as_retry(value)
