"""Requests to endpoints that this version does not know."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from scripted import answer

from chat2pay_async import Proof, RequestValidationError, SentRequest
from chat2pay_async._api.endpoint import endpoint_for
from chat2pay_async._api.operations import Safety, prepare
from chat2pay_async._api.responses import read_response


@pytest.mark.parametrize(
    ("method", "safety"),
    [
        *(("GET", Safety.READ), ("HEAD", Safety.READ), ("get", Safety.READ)),
        *(("POST", Safety.ONCE), ("PUT", Safety.ONCE), ("PATCH", Safety.ONCE)),
        ("DELETE", Safety.ONCE),
    ],
)
def test_only_a_read_may_be_sent_twice(method: str, safety: Safety) -> None:
    endpoint, sent = endpoint_for(method, "/x", None, None)
    assert (endpoint.name, endpoint.safety, endpoint.has_look_up) == ("request", safety, False)
    assert sent == SentRequest(method.upper(), "/x", None)
    assert prepare(endpoint, sent) is sent
    assert endpoint.identity(sent) == ""


def test_the_query_and_the_body_are_written_exactly() -> None:
    params = {
        "a b": "ä&=?",
        "n": 3,
        "d": Decimal("1.50"),
        "e": Decimal("1E+2"),
        "t": True,
        "no": None,
    }
    json = {"amount": Decimal("199.90"), "list": (1, 2.5, None), "text": "ü"}
    _, sent = endpoint_for("POST", "/api/v3/a%20b;c=1/", params, json)
    assert sent.target == "/api/v3/a%20b;c=1/?a%20b=%C3%A4%26%3D%3F&n=3&d=1.50&e=100&t=true"
    assert sent.body == '{"amount":199.90,"list":[1,2.5,null],"text":"ü"}'.encode()
    assert endpoint_for("GET", "/x", {"no": None}, None)[1].target == "/x"
    assert endpoint_for("PATCH", "/x", None, [])[1].body == b"[]"


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        (("CONNECT", "/x", None, None), ["method"]),
        (("TRACE", "/x", None, None), ["method"]),
        ((1, "/x", None, None), ["method"]),
        *(
            (("GET", path, None, None), ["path"])
            for path in (
                *("x", "", "https://evil.test/", "//evil.test/x", "/x?y=1", "/x#y", "/a b", "/ä"),
                *("/a\r\nX: y", "/../x", "/a/%2e%2E/x", "/./x", "/%", "/%zz", "/a//b", "/\\x", 1),
            )
        ),
        (("GET", "/x", [1], None), ["params"]),
        (
            ("GET", "/x", {1: "a", "b": "c", "d": 1.5, "e": [1]}, None),
            ["params[0]", "params[2]", "params[3]"],
        ),
        (("GET", "/x", None, {}), ["json"]),
        (("HEAD", "/x", None, {"a": 1}), ["json"]),
        (("POST", "/x", None, {"a": float("nan"), "b": {1, 2}}), ["json.a", "json.b"]),
        (("TRACE", "x", 1, None), ["method", "path", "params"]),
    ],
    ids=repr,
)
def test_what_cant_be_sent_is_refused_all_at_once(given: Any, fields: list[str]) -> None:
    with pytest.raises(RequestValidationError) as caught:
        endpoint_for(*given)
    assert [fault.field for fault in caught.value.faults] == fields


OWN_404 = b'{"status": 404, "errors": ["no"]}'


@pytest.mark.parametrize(
    ("method", "response", "proof", "parsed"),
    [
        ("POST", answer(201, b'{"a": 1.10}'), Proof.APPLIED, {"a": Decimal("1.10")}),
        ("POST", answer(200, b"[1]"), Proof.APPLIED, [1]),
        ("DELETE", answer(204, b""), Proof.APPLIED, None),
        ("POST", answer(200, b"<html>"), Proof.UNKNOWN, None),
        ("GET", answer(200, b"<html>"), Proof.APPLIED, None),
        ("POST", answer(200, b" \r\n"), Proof.APPLIED, None),
        ("GET", answer(200, b"{}", age="9"), Proof.APPLIED, {}),
        ("POST", answer(200, b"{}", age="9"), Proof.UNKNOWN, None),
        ("POST", answer(302), Proof.UNKNOWN, None),
        ("POST", answer(404, OWN_404), Proof.REJECTED, None),
        ("POST", answer(404, b"<html>"), Proof.UNKNOWN, None),
        ("POST", answer(409, OWN_404), Proof.UNKNOWN, None),
        ("POST", answer(425), Proof.NOT_SENT, None),
        ("POST", answer(429), Proof.THROTTLED, None),
        ("POST", answer(503, b"{}"), Proof.UNKNOWN, None),
    ],
    ids=repr,
)
def test_a_2xx_is_believed_and_all_else_proves_what_it_always_does(
    method: str, response: Any, proof: Proof, parsed: Any
) -> None:
    endpoint, sent = endpoint_for(method, "/x", None, None)
    outcome = read_response(endpoint, sent, response)
    assert (outcome.proof, outcome.result) == (proof, parsed)
    assert type(outcome.result) is type(parsed)
