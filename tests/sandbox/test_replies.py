"""Every kind of fault as a client meets it: in process, on virtual time, on real sockets."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from chat2pay_async.sandbox import FAULT_KINDS, POSTS, FaultKind, FaultPlan, InjectedFault, Sandbox
from chat2pay_async.sandbox import serve_sandbox as serve
from chat2pay_async.sandbox._server import uvicorn_protocol

pytestmark = pytest.mark.anyio

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREATE = "/api/v2/chat-2-pay"
STATUS = "/api/v2/chat-2-pay/transaction-status"
ORDER = (
    '{"channel":"sms","to":"27831234567","orderNumber":"A-1","currency":"ZAR","totalAmount":199.90,'
    '"timestamp":"2026-03-01T12:00:00Z","additionalData":{"sdkRequestId":"mine"}}'
)
NEVER = [kind for kind in FAULT_KINDS if kind.endswith("_before")] + [
    "throttle",
    "storm",
    "not_found",
    "denied",
]


class World:
    """A sandbox in this process, its clock, and a way to talk to it."""

    def __init__(self, plan: FaultPlan | None = None) -> None:
        self.now = START
        self.sandbox = Sandbox(clock=lambda: self.now, seed=1, faults=plan)
        self._transport = httpx.ASGITransport(app=self.sandbox.app)

    async def ask(self, method: str, path: str, body: str = "") -> httpx.Response:
        headers = {"Authorization": self.sandbox.api_key}
        url = f"http://localhost{path}"
        request = httpx.Request(method, url, content=body.encode(), headers=headers)
        response = await self._transport.handle_async_request(request)
        await response.aread()
        return response

    async def create(self, fault: FaultKind | InjectedFault | None = None) -> httpx.Response:
        self.sandbox.next_faults("create_payment_link", [fault])
        return await self.ask("POST", CREATE, ORDER)

    async def look_up(self, fault: FaultKind | InjectedFault | None = None) -> httpx.Response:
        self.sandbox.next_faults("get_transaction", [fault])
        return await self.ask("GET", f"{STATUS}?orderNumber=A-1")

    @property
    def links(self) -> int:
        return self.sandbox.ledger.count("link_created")

    def happened(self, kind: str, operation: str = "create_payment_link") -> int:
        return self.sandbox.ledger.faults.get((operation, kind), 0)


@pytest.fixture
def world() -> World:
    return World()


def is_page(response: httpx.Response) -> bool:
    return (
        response.headers["content-type"].startswith("text/html") and b"<html>" in response.content
    )


# No response


@pytest.mark.parametrize(
    ("kind", "error"), [("drop", ConnectionAbortedError), ("reset", ConnectionResetError)]
)
async def test_connection_is_cut_before_or_after_the_request_is_applied(
    world: World, kind: str, error: type[Exception]
) -> None:
    before: Any = f"{kind}_before"
    after: Any = f"{kind}_after"
    with pytest.raises(error):
        await world.create(before)
    assert world.links == 0
    with pytest.raises(error):
        await world.create(after)
    assert world.links == 1
    assert world.happened(before) == world.happened(after) == 1
    assert world.sandbox.ledger.answered() == 0


@pytest.mark.parametrize("operation", [*POSTS, "get_configuration", "update_integration"])
async def test_every_operation_can_fail(world: World, operation: str) -> None:
    method, path = {
        "create_payment_link": ("POST", CREATE),
        "cancel_payment_link": ("POST", "/api/v2/cancel/x"),
        "capture_payment": ("POST", "/api/v2/payment/x/capture"),
        "reverse_payment": ("POST", "/api/v2/payment/x/reverse"),
        "create_receipt": ("POST", "/api/v2/order-receipt"),
        "get_configuration": ("GET", "/api/v2/config"),
        "update_integration": ("PUT", "/api/v2/integration"),
    }[operation]
    world.sandbox.faults = FaultPlan((InjectedFault("reset_before", operations=(operation,)),))
    with pytest.raises(ConnectionResetError):
        await world.ask(method, path)
    assert (await world.ask("GET", STATUS)).status_code == 400
    assert world.sandbox.ledger.faults == {(operation, "reset_before"): 1}


@pytest.mark.virtual_time
@pytest.mark.parametrize("kind", ["silence_before", "silence_after"])
async def test_silence_ends_after_five_minutes(world: World, kind: FaultKind) -> None:
    before = anyio.current_time()
    with pytest.raises(ConnectionAbortedError):
        await world.create(kind)
    assert anyio.current_time() - before == pytest.approx(300)
    assert world.links == (kind == "silence_after")


@pytest.mark.virtual_time
async def test_request_with_a_late_response_is_applied_at_once(world: World) -> None:
    with anyio.move_on_after(2) as scope:
        await world.create(InjectedFault("answer_late", seconds=(3, 3)))
    assert scope.cancelled_caught
    assert world.links == 1
    before = anyio.current_time()
    response = await world.create(InjectedFault("answer_late", seconds=(3, 3)))
    assert anyio.current_time() - before == pytest.approx(3)
    assert response.status_code == 201
    assert world.happened("answer_late") == 2


# Responses that say no


@pytest.mark.parametrize(
    ("form", "retry_after"),
    [("bare", None), ("seconds", "7"), ("date", "Sun, 01 Mar 2026 12:00:07 GMT")],
)
async def test_a_request_is_throttled(world: World, form: str, retry_after: str | None) -> None:
    response = await world.create(InjectedFault("throttle", form=form, retry_after=(7, 7)))
    assert response.status_code == 429
    assert response.headers.get("retry-after") == retry_after
    assert response.json()["error"] == "Too Many Requests"
    assert world.links == 0
    assert world.sandbox.ledger.answered("create_payment_link", 429) == 1
    assert (await world.create()).status_code == 201


async def test_a_storm_hits_as_many_requests_as_it_says(world: World) -> None:
    storm = InjectedFault("storm", form="seconds", seconds=(9, 9), requests=(2, 2))
    assert (await world.create(storm)).status_code == 429
    # What a test says comes first, even in a storm.
    assert (await world.look_up(None)).status_code == 404
    statuses = [(await world.ask("GET", f"{STATUS}?orderNumber=A")).status_code for _ in range(3)]
    assert statuses == [429, 429, 404]
    assert world.happened("storm", "get_transaction") == 2


async def test_a_storm_hits_for_as_long_as_it_says(world: World) -> None:
    world.sandbox.faults = FaultPlan(
        (InjectedFault("storm", operations=POSTS, seconds=(9, 9), requests=(99, 99)),)
    )
    assert (await world.ask("POST", CREATE, ORDER)).status_code == 429
    world.now += timedelta(seconds=8)
    assert (await world.ask("POST", "/api/v2/cancel/x")).status_code == 429
    assert (await world.ask("GET", "/api/v2/config")).status_code == 200
    world.sandbox.faults = None
    assert (await world.ask("POST", CREATE, ORDER)).status_code == 201


async def test_a_storm_passes(world: World) -> None:
    assert (await world.create(InjectedFault("storm", seconds=(9, 9)))).status_code == 429
    world.now += timedelta(seconds=9)
    assert (await world.ask("POST", CREATE, ORDER)).status_code == 201


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("form", ["json", "html", "json_retry_after", "html_retry_after"])
async def test_server_error_comes_before_or_after_the_request_is_applied(
    world: World, status: int, form: str
) -> None:
    for links, when in enumerate(("before", "after")):
        kind: Any = f"error_{status}_{when}"
        response = await world.create(InjectedFault(kind, form=form, retry_after=(4, 4)))
        assert response.status_code == status
        assert response.headers.get("retry-after") == ("4" if "retry" in form else None)
        assert is_page(response) == form.startswith("html")
        if not is_page(response):
            assert response.json()["status"] == status
        assert world.links == links
        assert world.happened(kind) == 1


@pytest.mark.parametrize("form", ["401", "403"])
async def test_denied_fault_is_a_401_or_403_for_one_request(world: World, form: str) -> None:
    assert (await world.create(InjectedFault("denied", form=form))).status_code == int(form)
    assert (await world.look_up(InjectedFault("denied", form=form))).status_code == int(form)
    assert world.happened("denied") == world.happened("denied", "get_transaction") == 1
    assert world.links == 0


@pytest.mark.parametrize("form", ["html", "spring", "json"])
async def test_a_gateway_does_not_find_the_service(world: World, form: str) -> None:
    await world.create()
    for ask in (world.create, world.look_up):
        response = await ask(InjectedFault("not_found", form=form))
        assert response.status_code == 404
        assert is_page(response) == (form == "html")
        assert "A-1" not in response.text
        if form == "spring":
            assert response.json().keys() == {"timestamp", "status", "error", "path"}
        if form == "json":
            assert response.json().keys() == {"status", "message", "errors"}
    assert world.links == 1


# Responses that prove nothing


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    ("form", "content"), [("object", b"{}"), ("null", b"null"), ("empty", b""), ("html", b"<html>")]
)
async def test_a_success_proves_nothing(
    world: World, status: int, form: str, content: bytes
) -> None:
    for links, when in enumerate(("before", "after")):
        kind: Any = f"hollow_{status}_{when}"
        for ask in (world.create, world.look_up):
            response = await ask(InjectedFault(kind, form=form))
            assert response.status_code == status
            assert response.content[:6] == content
            assert is_page(response) == (form == "html")
        assert world.links == links
        assert world.happened(kind) == world.happened(kind, "get_transaction") == 1


@pytest.mark.parametrize("status", [302, 307])
async def test_followed_redirect_applies_the_request_once_more(world: World, status: int) -> None:
    for links, when in enumerate(("before", "after")):
        kind: Any = f"redirect_{status}_{when}"
        response = await world.create(kind)
        assert (response.status_code, response.headers["location"]) == (status, f"/moved{CREATE}")
        assert world.links == links
        assert world.happened(kind) == 1
    assert (await world.ask("POST", f"/moved{CREATE}", ORDER)).status_code == 201
    assert world.sandbox.ledger.twice("link_created") == ("A-1",)


async def test_html_fault_replaces_the_body_with_a_page(world: World) -> None:
    response = await world.create("html")
    assert response.status_code == 201
    assert is_page(response)
    assert world.links == world.happened("html") == 1


async def test_garbage_fault_replaces_the_body_with_random_bytes(world: World) -> None:
    response = await world.create("garbage")
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    with pytest.raises(ValueError, match=r"decode|Expecting"):
        json.loads(response.content)
    assert world.links == world.happened("garbage") == 1


async def test_truncated_body_ends_with_the_connection(world: World) -> None:
    with pytest.raises(ConnectionAbortedError):
        await world.create("truncated")
    assert world.links == world.happened("truncated") == 1
    assert world.sandbox.ledger.answered("create_payment_link", 201) == 1


@pytest.mark.virtual_time
async def test_a_body_drips(world: World) -> None:
    before = anyio.current_time()
    response = await world.create(InjectedFault("drip", seconds=(4, 4)))
    assert anyio.current_time() - before == pytest.approx(4)
    assert response.json()["paymentLinkRef"] == world.sandbox.ref_of("A-1")
    assert world.happened("drip") == 1
    # A body of no bytes has none to wait for, and nobody else is held up.
    assert (await world.create()).status_code == 201


@pytest.mark.parametrize("form", ["stamped", "bare"])
async def test_an_order_number_finds_somebody_elses_transaction(world: World, form: str) -> None:
    for _ in range(2):
        response = await world.look_up(InjectedFault("foreign", form=form))
        body = response.json()
        assert response.status_code == 200
        assert body["orderNumber"] == "A-1"
        assert body["totalAmount"] != 199.90
        assert "mine" not in response.text
        assert ("additionalData" in body) == (form == "stamped")
        await world.create()
        assert body["paymentLinkRef"] != world.sandbox.ref_of("A-1")
    assert world.happened("foreign", "get_transaction") == 2


async def test_only_an_order_number_finds_somebody_elses_transaction(world: World) -> None:
    await world.create()
    ref = world.sandbox.ref_of("A-1")
    world.sandbox.faults = FaultPlan((InjectedFault("foreign"),))
    response = await world.ask("GET", f"{STATUS}?paymentLinkRef={ref}")
    assert response.json()["paymentLinkRef"] == ref
    url = f"http://localhost{STATUS}?orderNumber=A-1"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=world.sandbox.app)) as stranger:
        assert (await stranger.get(url)).status_code == 401
    assert not world.sandbox.ledger.faults


# Scripts, and what never is applied


@pytest.mark.parametrize("kind", NEVER)
@pytest.mark.virtual_time
async def test_faults_before_applying_have_no_effect(world: World, kind: Any) -> None:
    try:
        response = await world.create(kind)
    except ConnectionError:
        pass
    else:
        assert response.status_code != 201 or "hollow" in kind
    world.now += timedelta(days=1)
    assert world.sandbox.apply_late() == 0
    assert not world.sandbox.ledger.effects
    assert world.happened(kind) == 1


async def test_a_script_is_followed_request_by_request(world: World) -> None:
    world.sandbox.faults = FaultPlan((InjectedFault("throttle"),))
    script: list[FaultKind | InjectedFault | None] = [
        "error_500_after",
        None,
        InjectedFault("denied", form="403"),
    ]
    world.sandbox.next_faults("create_payment_link", script)
    statuses = [(await world.ask("POST", CREATE, ORDER)).status_code for _ in range(4)]
    assert statuses == [500, 201, 403, 429]


# Switches


async def test_clock_offset_shows_in_every_time(world: World) -> None:
    world.sandbox.faults = FaultPlan(clock_offset=-90)
    response = await world.create()
    shown = START - timedelta(seconds=90)
    assert parsedate_to_datetime(response.headers["date"]) == shown
    assert response.json()["timestamp"] == "2026-03-01T11:58:30.000+0000"
    entries = (await world.look_up()).json()["transactionStatuses"]
    assert {entry["created"] for entry in entries} == {"2026-03-01T11:58:30.000+0000"}
    assert world.sandbox.now() == shown
    response = await world.look_up(InjectedFault("throttle", form="date", retry_after=(1, 1)))
    assert response.headers["retry-after"] == "Sun, 01 Mar 2026 11:58:31 GMT"


async def test_responses_can_lack_a_date(world: World) -> None:
    world.sandbox.faults = FaultPlan(no_date_header=True)
    assert "date" not in (await world.create()).headers
    assert "date" not in (await world.create("error_500_before")).headers
    world.sandbox.faults = None
    assert "date" in (await world.create()).headers


async def test_additional_data_is_not_echoed(world: World) -> None:
    await world.create()
    assert json.loads((await world.look_up()).json()["additionalData"]) == {"sdkRequestId": "mine"}
    world.sandbox.faults = FaultPlan(echo_additional_data=False)
    response = await world.look_up()
    assert "additionalData" not in response.json()
    assert response.json()["orderNumber"] == "A-1"
    assert "additionalData" not in (await world.look_up("foreign")).json()


@pytest.mark.parametrize(
    ("form", "status", "content"),
    [
        ("explicit", 404, "There is no such transaction with order number A-1"),
        ("empty", 200, "{}"),
        ("null", 200, "null"),
        ("bad_request", 400, "There is no such transaction with order number A-1"),
        ("foreign_404", 404, '"status":"NOT_FOUND"'),
        ("html", 404, "<h1>404 Not Found</h1>"),
    ],
)
async def test_unknown_order_has_a_response_of_each_form(
    world: World, form: Any, status: int, content: str
) -> None:
    world.sandbox.faults = FaultPlan(unknown_order=form)
    response = await world.look_up()
    assert response.status_code == status
    assert content in response.text
    assert ("A-1" in response.text) == (form in {"explicit", "bad_request"})
    response = await world.ask("POST", "/api/v2/cancel/x")
    assert (response.status_code, response.json()["status"]) == (404, "NOT_FOUND")


# On real sockets


@pytest.fixture(params=["uvicorn.protocols.http.auto", "uvicorn.protocols.http.h11_impl"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve with each of uvicorn's protocols; which one is found depends on what is installed."""
    module = importlib.import_module(request.param)
    made = getattr(module, "H11Protocol", None) or module.AutoHTTPProtocol
    monkeypatch.setattr(uvicorn_protocol, "AutoHTTPProtocol", made)


async def speak(
    sandbox: Sandbox, method: str, path: str, body: str = "", patience: float = 10
) -> tuple[bytes, str]:
    """Return what is received on a connection of its own, and how the connection ended."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {sandbox.api_key}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    received = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send((head + body).encode())
        try:
            with anyio.move_on_after(patience):
                while not complete(received):
                    received += await stream.receive()
                return received, "whole"
        except anyio.EndOfStream:
            return received, "closed"
        except anyio.BrokenResourceError:
            return received, "reset"
        return received, "open"


def complete(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


@pytest.mark.usefixtures("protocol")
@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("drop_before", "closed"),
        ("drop_after", "closed"),
        ("reset_before", "reset"),
        ("reset_after", "reset"),
        ("truncated", "closed"),
    ],
)
async def test_a_real_connection_is_cut(kind: FaultKind, end: str) -> None:
    async with serve() as sandbox:
        sandbox.next_faults("create_payment_link", [kind])
        received, ended = await speak(sandbox, "POST", CREATE, ORDER)
        assert ended == end
        assert bool(received) == (kind == "truncated")
        assert not received or received.startswith(b"HTTP/1.1 201")
        assert sandbox.ledger.count("link_created") == (not kind.endswith("before"))
        assert sandbox.ledger.faults == {("create_payment_link", kind): 1}
        received, ended = await speak(sandbox, "POST", CREATE, ORDER)
        assert (received[:12], ended) == (b"HTTP/1.1 201", "whole")


@pytest.mark.usefixtures("protocol")
async def test_a_cut_connection_says_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as sandbox:
        for kind in ("drop_after", "reset_after", "truncated"):
            sandbox.next_faults("get_configuration", [kind])
            await speak(sandbox, "GET", "/api/v2/config")
    assert caplog.records == []


@pytest.mark.usefixtures("protocol")
async def test_real_response_comes_late_and_drips() -> None:
    async with serve() as sandbox:
        slow = [InjectedFault(kind, seconds=(0.02, 0.02)) for kind in ("answer_late", "drip")]
        sandbox.next_faults("create_payment_link", slow)
        for number in (1, 2):
            began = anyio.current_time()
            received, ended = await speak(sandbox, "POST", CREATE, ORDER)
            assert anyio.current_time() - began >= 0.02
            assert (received[:12], ended) == (b"HTTP/1.1 201", "whole")
            assert sandbox.ledger.count("link_created") == number


@pytest.mark.usefixtures("protocol")
async def test_a_silent_connection_ends_when_the_client_has_gone() -> None:
    async with serve() as sandbox:
        sandbox.next_faults("get_configuration", ["silence_before"])
        began = anyio.current_time()
        assert await speak(sandbox, "GET", "/api/v2/config", patience=0.02) == (b"", "open")
    # The server would wait for three seconds for whatever is under way.
    assert anyio.current_time() - began < 2


async def test_only_a_disconnect_ends_a_delay(world: World) -> None:
    world.sandbox.next_faults("get_configuration", [InjectedFault("answer_late", seconds=(9, 9))])
    request = {"type": "http.request", "body": b"", "more_body": False}
    received = iter([request, request, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        await anyio.lowlevel.checkpoint()
        return next(received)

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v2/config",
        "raw_path": b"/api/v2/config",
        "query_string": b"",
        "headers": [(b"authorization", b"sandbox-key")],
    }
    await world.sandbox.app(scope, receive, send)
    assert sent[0]["status"] == 200
    assert list(received) == []


async def test_app_without_a_connection_raises_instead_of_a_reset(world: World) -> None:
    world.sandbox.next_faults("get_configuration", ["reset_after"])
    with pytest.raises(ConnectionResetError, match="The sandbox cut the connection"):
        await world.ask("GET", "/api/v2/config")
