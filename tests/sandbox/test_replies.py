"""Every kind of fault as a client meets it: in process, on virtual time, on real sockets."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpx
import pytest

from chat2pay_async.sandbox import (
    FAULT_KINDS,
    POSTS,
    EffectKind,
    FaultKind,
    FaultPlan,
    InjectedFault,
    Sandbox,
)
from chat2pay_async.sandbox import serve_sandbox as serve
from chat2pay_async.sandbox._faults.replies import Delivery
from chat2pay_async.sandbox._server import uvicorn_protocol
from chat2pay_async.sandbox._server.asgi import CONNECTION, Connection, DeliveredResponse
from chat2pay_async.sandbox._service.service import OPERATIONS, ApiRequest

pytestmark = pytest.mark.anyio

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREATE = "/api/v2/chat-2-pay"
STATUS = "/api/v2/chat-2-pay/transaction-status"
ORDER = (
    '{"channel":"sms","to":"27831234567","orderNumber":"A-1","currency":"ZAR","totalAmount":199.90,'
    '"timestamp":"2026-03-01T12:00:00Z","additionalData":{"sdkRequestId":"mine"}}'
)
NEVER = [
    kind
    for kind in FAULT_KINDS
    if kind.endswith("_before") and InjectedFault(kind).where == tuple(OPERATIONS)
] + [
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


# Responses of whoever stands between, and about something else


INTERMEDIARIES = InjectedFault("intermediary_before").trait.forms


@pytest.mark.parametrize("form", INTERMEDIARIES)
async def test_an_intermediary_refuses_before_or_after_the_request_is_applied(
    world: World, form: str
) -> None:
    status, look = form.split("_")
    for links, when in enumerate(("before", "after")):
        kind: Any = f"intermediary_{when}"
        response = await world.create(InjectedFault(kind, form=form))
        assert response.status_code == int(status)
        assert is_page(response) == (look == "page")
        if look == "message":
            assert response.json().keys() == {"message"}
        if look == "json":
            assert response.json()["status"] == int(status)
        assert bool(response.content) == (look != "empty")
        assert world.links == links
        assert world.happened(kind) == 1


@pytest.mark.parametrize(("form", "field"), [("transaction", "orderNumber"), ("error", "error")])
async def test_a_misdirected_response_is_a_success_about_something_else(
    world: World, form: str, field: str
) -> None:
    for links, when in enumerate(("before", "after")):
        kind: Any = f"misdirected_{when}"
        for ask in (world.create, world.look_up):
            response = await ask(InjectedFault(kind, form=form))
            assert response.status_code == 200
            assert field in response.json()
            assert "A-1" not in response.text
        assert world.links == links
        assert world.happened(kind) == world.happened(kind, "get_transaction") == 1


async def test_a_refusal_can_carry_the_reference_of_a_link_that_exists(world: World) -> None:
    response = await world.create("refused_link")
    assert response.status_code == 400
    assert response.json()["paymentLinkRef"] == world.sandbox.ref_of("A-1")
    assert world.links == world.happened("refused_link") == 1


DONE: dict[str, EffectKind] = {"capture": "captured", "reverse": "reversed"}


async def authorize(world: World) -> str:
    await world.ask(
        "POST", CREATE, ORDER.replace('"sms"', '"sms","transactionType":"authorization"')
    )
    ref = world.sandbox.ref_of("A-1")
    world.sandbox.pay(ref)
    return ref


@pytest.mark.parametrize(
    ("operation", "form", "kind"),
    [
        ("capture", "opposite", "VOID"),
        ("capture", "sale", "SALE"),
        ("reverse", "opposite", "CAPTURE"),
        ("reverse", "sale", "SALE"),
    ],
)
async def test_a_step_of_the_wrong_type_is_a_success_of_another_step(
    world: World, operation: str, form: str, kind: str
) -> None:
    ref = await authorize(world)
    for effects, when in enumerate(("before", "after")):
        name: Any = f"wrong_type_{when}"
        fault = InjectedFault(name, form=form)
        world.sandbox.next_faults(f"{operation}_payment", [fault])
        response = await world.ask("POST", f"/api/v2/payment/{ref}/{operation}")
        assert response.status_code == 200
        assert response.json()["transactionType"].startswith(f"TransactionType.{kind}(")
        assert response.json()["paymentGatewayDecision"] == "ACCEPT"
        assert world.sandbox.ledger.count(DONE[operation]) == effects
        assert world.happened(name, f"{operation}_payment") == 1


async def test_a_wrong_amount_is_captured_only_where_one_was_asked_for(world: World) -> None:
    ref = await authorize(world)
    world.sandbox.faults = FaultPlan((InjectedFault("wrong_amount_before"),))
    path = f"/api/v2/payment/{ref}/capture"
    response = await world.ask("POST", f"{path}?amount=10.00")
    assert response.json()["transactionType"].startswith("TransactionType.CAPTURE(")
    assert response.json()["totalAmount"] == 999.00
    assert world.sandbox.ledger.count("captured") == 0
    assert (await world.ask("POST", path)).json()["totalAmount"] == 199.90
    assert world.sandbox.ledger.faults == {("capture_payment", "wrong_amount_before"): 1}


@pytest.mark.parametrize("form", ["link", "status"])
async def test_a_wrong_cancellation_is_of_another_link_or_none(world: World, form: str) -> None:
    await world.create()
    ref = world.sandbox.ref_of("A-1")
    for effects, when in enumerate(("before", "after")):
        kind: Any = f"wrong_link_{when}"
        world.sandbox.next_faults("cancel_payment_link", [InjectedFault(kind, form=form)])
        body = (await world.ask("POST", f"/api/v2/cancel/{ref}")).json()
        assert (body["paymentLinkRef"] == ref) == (form == "status")
        assert ("Cancelled" in body["transactionStatus"]) == (form == "link")
        assert world.sandbox.ledger.count("link_cancelled") == effects


@pytest.mark.parametrize("operation", ["capture", "reverse"])
async def test_another_process_is_declined_before_the_request_is_applied(
    world: World, operation: str
) -> None:
    ref = await authorize(world)
    path = f"/api/v2/payment/{ref}/{operation}"
    fault = InjectedFault("foreign_decline", form="drop", seconds=(6, 6))
    world.sandbox.next_faults(f"{operation}_payment", [fault])
    with pytest.raises(ConnectionAbortedError):
        await world.ask("POST", path)

    async def decisions() -> list[str]:
        entries = (await world.look_up()).json()["paymentStatuses"]
        return [entry["paymentGatewayDecision"] for entry in entries]

    assert await decisions() == ["ACCEPT", "DECLINE"]
    assert world.sandbox.ledger.count(DONE[operation]) == 0
    world.now += timedelta(seconds=6)
    assert await decisions() == ["ACCEPT", "DECLINE", "ACCEPT"]
    assert world.sandbox.ledger.count(DONE[operation]) == 1


async def test_there_is_no_decline_of_a_link_that_does_not_exist(world: World) -> None:
    fault = InjectedFault("foreign_decline", form="drop")
    world.sandbox.next_faults("capture_payment", [fault])
    with pytest.raises(ConnectionAbortedError):
        await world.ask("POST", "/api/v2/payment/x/capture")
    assert world.happened("foreign_decline", "capture_payment") == 1


# Look-ups that show the past, or too little


@pytest.mark.parametrize("form", ["list", "null", "missing"])
async def test_a_status_lacks_its_payment_entries(world: World, form: str) -> None:
    await authorize(world)
    body = (await world.look_up(InjectedFault("no_payments", form=form))).json()
    assert body["orderNumber"] == "A-1"
    entries: dict[str, Any] = {"list": [], "null": None, "missing": "missing"}
    assert body.get("paymentStatuses", "missing") == entries[form]


async def test_a_status_that_is_no_object_has_no_payment_entries_to_lack(world: World) -> None:
    world.sandbox.faults = FaultPlan(unknown_order="null")
    assert (await world.look_up("no_payments")).json() is None


async def test_a_cached_look_up_shows_the_past_and_its_age(world: World) -> None:
    await world.create()
    before = await world.look_up()
    world.sandbox.pay(world.sandbox.ref_of("A-1"))
    world.now += timedelta(seconds=5)
    for age in ("5", "7"):
        cached = await world.look_up("cached")
        assert cached.content == before.content
        assert cached.headers["age"] == age
        assert cached.headers["date"] == before.headers["date"]
        world.now += timedelta(seconds=2)
    assert (await world.look_up()).content != before.content
    assert world.happened("cached", "get_transaction") == 2


async def test_only_what_was_looked_up_before_is_cached(world: World) -> None:
    await world.create()
    assert "age" not in (await world.look_up("cached")).headers
    assert world.happened("cached", "get_transaction") == 0


async def test_the_oldest_look_ups_leave_the_cache(world: World) -> None:
    world.sandbox.faults = FaultPlan()
    await world.create()
    await world.look_up()
    for number in range(1_000):
        query = {"orderNumber": f"B-{number}"}
        world.sandbox.exchange(ApiRequest("get_transaction", "sandbox-key", "/", query=query))
    assert "age" not in (await world.look_up("cached")).headers


@pytest.mark.parametrize(
    ("form", "date"),
    [
        ("missing", None),
        ("ahead", "Sun, 01 Mar 2026 12:01:30 GMT"),
        ("behind", "Sun, 01 Mar 2026 11:58:30 GMT"),
        ("garbage", "yesterday"),
    ],
)
async def test_a_response_has_a_wrong_date(world: World, form: str, date: str | None) -> None:
    response = await world.create(InjectedFault("wrong_date", form=form, seconds=(90, 90)))
    assert response.headers.get("date") == date
    assert response.json()["timestamp"] == "2026-03-01T12:00:00.000+0000"
    assert world.links == world.happened("wrong_date") == 1


# Responses without an end, or a bound


@pytest.mark.virtual_time
async def test_a_body_drips_without_an_end(world: World) -> None:
    before = anyio.current_time()
    response = await world.create("endless_drip")
    assert anyio.current_time() - before >= len(response.content) - 1
    assert response.json()["paymentLinkRef"] == world.sandbox.ref_of("A-1")


async def test_a_gzip_bomb_is_small_and_decodes_to_64_mib(world: World) -> None:
    response = await world.create("gzip_bomb")
    assert response.status_code == 201
    assert int(response.headers["content-length"]) < 100_000
    assert len(response.content) == 64 * 1024 * 1024
    assert world.links == world.happened("gzip_bomb") == 1


@pytest.mark.virtual_time
async def test_processing_is_silence_where_there_is_no_connection(world: World) -> None:
    before = anyio.current_time()
    with pytest.raises(ConnectionAbortedError):
        await world.create("processing_after")
    assert anyio.current_time() - before == pytest.approx(300)
    assert world.links == 1


@pytest.mark.parametrize("kind", ["repeated", "unasked"])
async def test_nothing_comes_after_a_response_where_there_is_no_connection(
    world: World, kind: FaultKind
) -> None:
    assert (await world.create(kind)).status_code == 201
    assert world.links == world.happened(kind) == 1


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
        assert b"A-1" not in response.content
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


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_front_end_requires_a_length(world: World, method: str) -> None:
    request = ApiRequest("update_integration", "sandbox-key", "/", body=b"{}", has_length=False)
    if method == "POST":
        request = ApiRequest("cancel_payment_link", "sandbox-key", "/", has_length=False)
    reply = world.sandbox.exchange(request).reply
    assert reply is not None
    assert reply.status != 411
    world.sandbox.faults = FaultPlan(length_required=True)
    reply = world.sandbox.exchange(request).reply
    assert reply is not None
    assert (reply.status, reply.media_type) == (411, "text/html")
    assert (await world.create()).status_code == 201
    look_up = ApiRequest("get_configuration", "sandbox-key", "/", has_length=False)
    reply = world.sandbox.exchange(look_up).reply
    assert reply is not None
    assert reply.status == 200
    assert world.sandbox.ledger.answered(status=411) == 1


async def test_a_request_without_a_length_is_recognised(world: World) -> None:
    world.sandbox.faults = FaultPlan(length_required=True)
    request = httpx.Request(
        "POST", "http://localhost/api/v2/cancel/x", headers={"Authorization": "sandbox-key"}
    )
    del request.headers["content-length"]
    transport = httpx.ASGITransport(app=world.sandbox.app)
    assert (await transport.handle_async_request(request)).status_code == 411


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
    return bool(length) and len(body) >= int(length)


@pytest.mark.usefixtures("protocol")
@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("drop_before", "closed"),
        ("drop_after", "closed"),
        ("reset_before", "reset"),
        ("reset_after", "reset"),
        ("truncated", "closed"),
        ("half_closed_before", "closed"),
        ("half_closed_after", "closed"),
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


async def converse(
    sandbox: Sandbox, *requests: tuple[str, str], until: Callable[[bytes], bool]
) -> bytes:
    """Return what is received on one connection: what is waited for, and what comes at once."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    received = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        for method, path in requests:
            head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {sandbox.api_key}"
            await stream.send(f"{head}\r\ncontent-length: 0\r\n\r\n".encode())
            size = len(received)
            with anyio.fail_after(30):
                while not complete(received[size:]):
                    received += await stream.receive()
        with anyio.fail_after(30):
            while not until(received):
                received += await stream.receive()
        with anyio.move_on_after(0.1):
            while True:
                received += await stream.receive()
    return received


CONFIGURATION = ("GET", "/api/v2/config")
LAST = b'"VISA","MASTERCARD"]}'
"""End of the body of its response."""


@pytest.mark.usefixtures("protocol")
async def test_a_response_is_repeated_on_its_connection() -> None:
    async with serve() as sandbox:
        sandbox.next_faults("get_configuration", ["repeated"])
        received = await converse(
            sandbox, CONFIGURATION, until=lambda received: received.count(LAST) == 2
        )
    first, second = received.split(b"HTTP/1.1 200 ")[1:]
    assert first.partition(b"\r\n\r\n")[2] == second.partition(b"\r\n\r\n")[2]
    assert sandbox.ledger.answered("get_configuration") == 1


@pytest.mark.usefixtures("protocol")
async def test_a_repeated_response_comes_before_the_next_one() -> None:
    async with serve() as sandbox:
        late = InjectedFault("repeated", seconds=(60, 60))
        sandbox.next_faults("get_configuration", [late])
        received = await converse(
            sandbox,
            *(CONFIGURATION, ("GET", STATUS)),
            until=lambda received: received.count(b"HTTP/1.1 ") == 3,
        )
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"400"]


@pytest.mark.usefixtures("protocol")
async def test_nothing_is_repeated_on_a_connection_that_is_closed() -> None:
    async with serve() as sandbox:
        sandbox.next_faults("get_configuration", [InjectedFault("repeated", seconds=(0.05, 0.05))])
        received, ended = await speak(sandbox, "GET", "/api/v2/config")
        assert (received.count(b"HTTP/1.1"), ended) == (1, "whole")
        await anyio.sleep(0.1)


@pytest.mark.usefixtures("protocol")
@pytest.mark.parametrize(
    ("form", "start"), [("408", b"HTTP/1.1 408"), ("200", b"HTTP/1.1 200 \r\n"), ("noise", b"")]
)
async def test_bytes_that_nobody_asked_for_follow_a_response(form: str, start: bytes) -> None:
    async with serve() as sandbox:
        sandbox.next_faults("get_configuration", [InjectedFault("unasked", form=form)])
        received = await converse(
            sandbox, CONFIGURATION, until=lambda received: not received.endswith(LAST)
        )
    _, body = received.split(b"\r\n\r\n", 1)
    _, end, rest = body.partition(LAST)
    assert end
    assert rest
    assert rest.startswith(start)


@pytest.mark.usefixtures("protocol")
async def test_a_102_comes_instead_of_a_response() -> None:
    async with serve() as sandbox:
        sandbox.next_faults("get_configuration", ["processing_before"])
        received, ended = await speak(sandbox, "GET", "/api/v2/config", patience=0.2)
        assert (received, ended) == (b"HTTP/1.1 102 Processing\r\n\r\n", "open")


@pytest.mark.virtual_time
async def test_a_102_comes_each_second_until_the_client_has_gone() -> None:
    sent: list[float] = []
    began = anyio.current_time()

    class Written:
        def write(self, _data: bytes) -> None:
            sent.append(anyio.current_time())

    async def receive() -> Any:
        await anyio.sleep_until(began + 2.5)
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        raise AssertionError

    delivery = Delivery(None, delay=300, is_processing=True)
    connection: Any = Connection(cast("Any", Written()))
    scope: Any = {"extensions": {CONNECTION: connection}}
    await DeliveredResponse(delivery)(scope, receive, send)
    assert [at - began for at in sent] == pytest.approx([0, 1, 2])


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
