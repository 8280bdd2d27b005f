from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import httpx2
import pytest
import respx

import chat2pay_async
from chat2pay_async import (
    AsyncChat2Pay,
    AuthenticationError,
    BadRequestError,
    Chat2PayError,
    ConfigurationError,
    ConnectionFailedError,
    Event,
    IntegrationStatus,
    IntegratorType,
    NotFoundError,
    OutcomeUnknownError,
    PaymentLinkRequest,
    PaymentStatus,
    Pending,
    ReceiptNotSentError,
    RequestTimeoutError,
    RequestValidationError,
    Resolution,
    RetryPolicy,
    Timeout,
    TransactionStatus,
    TransactionType,
    Verdict,
    http_client_for,
)
from chat2pay_async._client import inner
from chat2pay_async.sandbox import Sandbox, serve_sandbox

pytestmark = pytest.mark.anyio

KEY = "k-5f3c9b7e21-very-secret"
PHONE = "27831234567"
SENDER = "27110000042"
CARD = "4111111111111111"
RECEIPT = "https://shop.test/receipts/1"


def request_for(order_number: str = "A-1", **fields: Any) -> PaymentLinkRequest:
    given = {
        "channel": "sms",
        "to": PHONE,
        "order_number": order_number,
        "currency": "ZAR",
        "total_amount": "199.90",
        "transaction_type": "authorization",
    }
    return PaymentLinkRequest(**(given | fields))


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(api_key=KEY)


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[AsyncChat2Pay]:
    transport = httpx.ASGITransport(app=sandbox.app)
    async with AsyncChat2Pay(KEY, base_url="http://localhost", transport=transport) as client:
        yield client


async def paid(client: AsyncChat2Pay, sandbox: Sandbox, order: str = "A-1", **fields: Any) -> str:
    link = await client.create_payment_link(request_for(order, **fields))
    assert link.payment_link_ref is not None
    sandbox.pay(link.payment_link_ref)
    return link.payment_link_ref


# The eight operations ----------------------------------------------------------------------------


async def test_a_link_is_made_and_its_url_comes_only_if_asked_for(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    asked = await client.create_payment_link(request_for("A-1", return_payment_link=True))
    silent = await client.create_payment_link(request_for("A-2", channel="none"))
    assert asked.payment_link is not None
    assert asked.payment_link.startswith("http")
    assert silent.payment_link is None
    assert asked.transaction_status is TransactionStatus.PAYMENT_LINK_SENT
    assert (asked.delivered, silent.delivered) == (True, None)
    assert (asked.payment_link_ttl, asked.payment_page_ttl) == (5, 15)
    assert not asked.recovered
    assert sandbox.ledger.count("link_created") == 2


async def test_a_link_whose_message_failed_is_returned_as_not_delivered(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    sandbox.fail_delivery("A-1")
    link = await client.create_payment_link(request_for())
    assert link.delivered is False
    assert link.error is not None
    assert sandbox.ledger.count("link_created", order_number="A-1") == 1


async def test_all_that_a_request_says_comes_back_in_the_transaction(
    client: AsyncChat2Pay,
) -> None:
    data = {"cart": [1, 2.5], "name": "Zoë"}
    request = request_for(
        sub_total_amount="173.90",
        tax_amount="26.00",
        additional_data=data,
        reconciliation_id="rec-1",
        merchant_descriptor="Kaap Coffee",
        order_line_items=[
            chat2pay_async.LineItem(name="Mug", unit_price="173.90", quantity=1, sku="M-1")
        ],
    )
    link = await client.create_payment_link(request)
    transaction = await client.get_transaction(order_number="A-1")
    assert transaction.payment_link_ref == link.payment_link_ref
    assert str(transaction.total_amount) == "199.90"
    assert str(transaction.tax_amount) == "26.00"
    echoed = dict(transaction.parsed_additional_data)
    assert len(echoed.pop("sdkRequestId")) == 32  # by which it is recognised after a lost answer
    assert echoed == data
    assert transaction.reconciliation_id == "rec-1"
    assert transaction.merchant_descriptor == "Kaap Coffee"
    assert transaction.transaction_type is TransactionType.AUTHORIZATION
    assert transaction.order_line_items == request.order_line_items


async def test_a_link_is_cancelled_once(client: AsyncChat2Pay, sandbox: Sandbox) -> None:
    link = await client.create_payment_link(request_for())
    ref = link.payment_link_ref or ""
    cancelled = await client.cancel_payment_link(ref)
    assert cancelled.payment_link_ref == ref
    assert cancelled.transaction_status is TransactionStatus.PAYMENT_LINK_CANCELLED
    with pytest.raises(BadRequestError, match="already cancelled"):
        await client.cancel_payment_link(ref)
    assert sandbox.ledger.count("link_cancelled") == 1


async def test_an_authorization_is_captured_once_in_part_or_whole(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    whole, part = await paid(client, sandbox, "A-1"), await paid(client, sandbox, "A-2")
    result = await client.capture_payment(whole)
    assert result.succeeded is True
    assert result.total_amount == Decimal("199.90")
    assert result.transaction_type is TransactionType.CAPTURE
    assert str((await client.capture_payment(part, "100.00")).total_amount) == "100.00"
    with pytest.raises(BadRequestError):
        await client.capture_payment(whole)
    assert sandbox.ledger.total("captured", "ZAR") == Decimal("299.90")


async def test_a_capture_of_more_than_two_decimals_needs_its_currency(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    ref = await paid(client, sandbox, "A-1")
    with pytest.raises(RequestValidationError, match="pass its currency, too"):
        await client.capture_payment(ref, "10.000")
    with pytest.raises(RequestValidationError, match="ZAR has 2: round it"):
        await client.capture_payment(ref, "10.001", currency="ZAR")
    assert (await client.capture_payment(ref, "10.00", currency="ZAR")).succeeded is True
    assert sandbox.ledger.total("captured", "ZAR") == Decimal("10.00")


async def test_a_declined_capture_is_returned_as_not_succeeded(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    ref = await paid(client, sandbox)
    sandbox.decline_capture(ref)
    assert (await client.capture_payment(ref)).succeeded is False
    assert sandbox.ledger.count("captured") == 0
    assert (await client.capture_payment(ref)).succeeded is True


async def test_a_payment_is_reversed(client: AsyncChat2Pay, sandbox: Sandbox) -> None:
    ref = await paid(client, sandbox)
    result = await client.reverse_payment(ref)
    assert (result.succeeded, result.transaction_type) == (True, TransactionType.VOID)
    transaction = await client.get_transaction(payment_link_ref=ref)
    assert transaction.payment_status is PaymentStatus.REVERSED
    with pytest.raises(BadRequestError):
        await client.capture_payment(ref)


async def test_a_receipt_is_sent_and_found_by_its_reference(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    ref = await paid(client, sandbox)
    receipt = await client.create_receipt(ref, RECEIPT)
    assert receipt.order_number == "A-1"
    found = await client.get_transaction(receipt_link_ref=receipt.receipt_link_ref)
    assert found.payment_link_ref == ref


async def test_a_receipt_that_exists_but_was_not_sent_is_an_error_that_carries_it(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    ref = await paid(client, sandbox)
    sandbox.fail_receipt(ref)
    with pytest.raises(ReceiptNotSentError) as caught:
        await client.create_receipt(ref, RECEIPT)
    assert caught.value.receipt.receipt_link_ref
    assert caught.value.receipt.transaction_status is TransactionStatus.RECEIPT_LINK_SENT_FAILED
    assert caught.value.receipt.error is not None


async def test_the_configuration_is_read_and_its_key_is_not_shown(client: AsyncChat2Pay) -> None:
    configuration = await client.get_configuration()
    assert configuration.api_key == KEY
    assert KEY not in repr(configuration)
    assert {currency.iso for currency in configuration.supported_currencies} >= {"ZAR", "USD"}
    assert {one.type for one in configuration.integrators} >= {IntegratorType.OMS}
    assert "cardNetworks" in configuration.extra


async def test_an_integration_is_updated(client: AsyncChat2Pay) -> None:
    before = (await client.get_configuration()).integrators[0]
    update = await client.update_integration(before.application_id or "", "deactivated")
    assert update.update_time is not None
    after = (await client.get_configuration()).integrators[0]
    assert after.status is IntegrationStatus.DEACTIVATED
    with pytest.raises(NotFoundError):
        await client.update_integration("no-such", IntegrationStatus.ACTIVATED)


@pytest.mark.parametrize("reference", ["no/such?x", "../config", "%2e%2e", "ü\N{SNOWMAN}", "a b"])
async def test_no_reference_reaches_another_endpoint(
    client: AsyncChat2Pay, sandbox: Sandbox, reference: str
) -> None:
    for call in (client.cancel_payment_link, client.capture_payment, client.reverse_payment):
        with pytest.raises(NotFoundError, match="no such transaction"):
            await call(reference)
    operations = {operation for operation, _status in sandbox.ledger.requests}
    assert len(operations) == 3


async def test_bad_arguments_are_refused_before_anything_is_sent(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    for call in (
        client.cancel_payment_link(".."),
        client.capture_payment("ref", "-1"),
        client.reverse_payment(" "),
        client.create_receipt("ref", ""),
        client.get_transaction(),
        client.update_integration("u", "SLEEPING"),  # type: ignore[arg-type]
    ):
        with pytest.raises(RequestValidationError):
            await call
    with pytest.raises(TypeError, match="Decimal"):
        await client.capture_payment("ref", 1.5)  # type: ignore[arg-type]
    assert sandbox.ledger.requests == {}


async def test_a_wrong_key_is_an_authentication_error(sandbox: Sandbox) -> None:
    transport = httpx.ASGITransport(app=sandbox.app)
    async with AsyncChat2Pay("wrong", base_url="http://localhost", transport=transport) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.get_configuration()
    assert caught.value.operation == "get_configuration"
    assert len(caught.value.attempts) == 1


# Waiting for a payment ---------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("verb", ["pay", "decline", "expire"])
async def test_waiting_ends_when_the_payment_does(
    client: AsyncChat2Pay, sandbox: Sandbox, verb: str
) -> None:
    ref = (await client.create_payment_link(request_for())).payment_link_ref or ""
    started = anyio.current_time()

    async def customer() -> None:
        await anyio.sleep(60)
        getattr(sandbox, verb)(ref)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(customer)
        transaction = await client.wait_for_payment(ref)
    assert 60 <= anyio.current_time() - started <= 75
    assert transaction.payment_status in {PaymentStatus.SUCCESS, PaymentStatus.FAILED} or any(
        entry.transaction_status_name is TransactionStatus.PAYMENT_URL_EXPIRED
        for entry in transaction.transaction_statuses
    )


@pytest.mark.virtual_time
async def test_waiting_backs_off_and_gives_up_in_time(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    ref = (await client.create_payment_link(request_for())).payment_link_ref or ""
    started = anyio.current_time()
    with pytest.raises(RequestTimeoutError, match="within 105 s") as caught:
        await client.wait_for_payment(ref, timeout=105, initial=2, maximum=20)
    assert anyio.current_time() - started == pytest.approx(105)
    assert caught.value.operation == "wait_for_payment"
    # Looks at 0, 2, 5, 9.5, 16.25, 26.375, 41.5625 and then every 20 seconds: 61, 81 and 101.
    assert sandbox.ledger.answered("get_transaction", 200) == 10


@pytest.mark.parametrize(
    "settings",
    [
        *({"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"timeout": float("inf")}),
        *({"timeout": True}, {"timeout": "5"}, {"initial": 0}, {"initial": -1}, {"initial": "5"}),
        *({"maximum": 0}, {"maximum": float("nan")}, {"maximum": 10**400}),
    ],
    ids=lambda settings: f"{settings}"[:24],
)
async def test_a_time_to_wait_out_of_range_is_refused(
    client: AsyncChat2Pay, sandbox: Sandbox, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="wait_for_payment: initial, maximum and timeout"):
        await client.wait_for_payment("ref-1", **settings)
    assert sandbox.ledger.answered("get_transaction", 404) == 0


# Setting up and closing --------------------------------------------------------------------------


def test_key_and_base_url_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAT2PAY_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="CHAT2PAY_API_KEY"):
        AsyncChat2Pay()


async def test_the_environments_key_and_base_url_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHAT2PAY_API_KEY", KEY)
    monkeypatch.setenv("CHAT2PAY_BASE_URL", "https://service.test/c2p/")
    with respx.mock:
        route = respx.get("https://service.test/c2p/api/v2/config").respond(
            200, json={"environment": "TEST"}
        )
        async with AsyncChat2Pay() as client:
            await client.get_configuration()
    assert route.calls.last.request.headers["authorization"] == KEY


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate_limit": 5}, r"rate_limit must be a RateLimit\(…\), .* not int"),
        ({"retry": 3}, "retry must be a RetryPolicy, not int"),
        ({"hooks": print}, r"hooks=\[print\]"),
        ({"proxy": 5}, "a proxy's URL must look like"),
        ({"transport": "x"}, "str is no client and no transport"),
    ],
)
def test_a_setting_of_another_kind_is_refused_with_what_to_pass(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AsyncChat2Pay(KEY, **settings)


async def test_a_view_refuses_another_kind_of_retry_policy(client: AsyncChat2Pay) -> None:
    with pytest.raises(ConfigurationError, match="retry must be a RetryPolicy, not int"):
        client.with_options(retry=cast("Any", 3))


async def test_another_kind_of_request_is_refused(client: AsyncChat2Pay) -> None:
    with pytest.raises(TypeError, match="create_payment_link takes a PaymentLinkRequest, not dict"):
        await client.create_payment_link(cast("Any", {"channel": "sms"}))
    with pytest.raises(TypeError, match=r"resolve takes an error's `\.pending`, not None"):
        await client.resolve(cast("Any", None))


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("cancel_payment_link", ("",)),
        ("capture_payment", ("",)),
        ("reverse_payment", ("",)),
        ("create_receipt", ("", "https://r.example")),
        ("update_integration", ("", "ACTIVATED")),
    ],
)
async def test_a_fault_of_a_methods_arguments_names_the_method(
    client: AsyncChat2Pay, method: str, args: tuple[str, ...]
) -> None:
    with pytest.raises(RequestValidationError) as caught:
        await getattr(client, method)(*args)
    assert caught.value.operation == method


async def test_a_limiter_of_ones_own_needs_no_base_class(sandbox: Sandbox) -> None:
    class Counting:
        turns = 0

        async def acquire(self) -> None:
            self.turns += 1

        def throttled(self, retry_after: float | None) -> None: ...

    limiter = Counting()
    transport = httpx.ASGITransport(app=sandbox.app)
    async with AsyncChat2Pay(
        KEY, base_url="http://localhost", transport=transport, rate_limit=limiter
    ) as client:
        await client.get_configuration()
    assert limiter.turns == 1


async def test_a_client_made_outside_a_loop_works_inside_one(sandbox: Sandbox) -> None:
    client = AsyncChat2Pay(
        KEY, base_url="http://localhost", transport=httpx.ASGITransport(app=sandbox.app)
    )
    assert (await client.get_configuration()).environment
    await client.aclose()
    with pytest.raises(ConfigurationError, match="closed"):
        await client.get_configuration()


async def test_a_users_client_is_used_and_left_open(sandbox: Sandbox) -> None:
    seen = []

    async def on_request(request: httpx.Request) -> None:
        seen.append(request.method)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=sandbox.app), event_hooks={"request": [on_request]}
    ) as http:
        async with AsyncChat2Pay(KEY, base_url="http://localhost", http_client=http) as client:
            await client.get_configuration()
        assert seen == ["GET"]
        assert not http.is_closed


async def test_a_client_or_transport_of_httpx2_will_do(sandbox: Sandbox) -> None:
    transport = httpx2.ASGITransport(app=sandbox.app)
    async with AsyncChat2Pay(
        KEY,
        base_url="http://localhost",
        transport=transport,
    ) as client:
        assert (await client.get_configuration()).environment
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=sandbox.app)) as http,
        AsyncChat2Pay(
            KEY,
            base_url="http://localhost",
            http_client=http,
        ) as client,
    ):
        assert (await client.get_configuration()).environment


async def test_a_view_shares_the_connections_and_keeps_its_own_settings(
    client: AsyncChat2Pay,
) -> None:
    quick = client.with_options(timeout=Timeout(total=3), retry=RetryPolicy(max_attempts=1))
    assert "total=3" in repr(quick)
    assert "total=90" in repr(client)
    assert "max_attempts=1" in repr(quick.with_options(timeout=5))
    assert "total=3" in repr(quick.with_options(retry=RetryPolicy(max_attempts=9)))
    assert (await quick.get_configuration()) == (await client.get_configuration())


@pytest.mark.parametrize(
    ("settings", "route"),
    [
        ({}, "https://chat2pay-service.clickatell.com"),
        ({"base_url": "https://gate.test/pay/"}, "https://gate.test/pay"),
        (
            {"base_url": "https://gate.test", "proxy": f"http://me:{KEY}@p.test:3128"},
            "https://gate.test through the proxy p.test:3128",
        ),
    ],
    ids=["production", "another", "through a proxy"],
)
@pytest.mark.parametrize("transport", [None, "fast"])
async def test_the_repr_of_a_client_shows_where_it_sends_and_no_secret(
    settings: Any, route: str, transport: Any
) -> None:
    async with AsyncChat2Pay(KEY, transport=transport, **settings) as client:
        for one in (client, client.with_options(timeout=5)):
            assert repr(one).startswith(f"<AsyncChat2Pay of {route}, Options(timeout=Timeout(")
            assert KEY not in repr(one)


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_the_repr_of_a_client_shows_the_proxy_of_a_users_http_client(library: Any) -> None:
    proxy = f"http://me:{KEY}@p.test:3128"
    async with library.AsyncClient(proxy=proxy, trust_env=False) as theirs:
        shown = repr(AsyncChat2Pay(KEY, http_client=theirs))
    assert "clickatell.com through the proxy p.test:3128, Options" in shown
    assert KEY not in shown


# A link by keywords -------------------------------------------------------------------------------


async def test_a_link_is_made_of_its_fields_as_of_a_request(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    link = await client.create_payment_link(
        channel="sms", to=PHONE, order_number="A-1", currency="ZAR", total_amount="199.90"
    )
    raw = await client.with_raw_response.create_payment_link(
        channel="WHATSAPP",
        to=PHONE,
        order_number="A-1",
        currency="zar",
        total_amount=5,
        transaction_type=TransactionType.AUTHORIZATION,
        idempotency_key="another",
    )
    assert sandbox.ledger.count("link_created", order_number="A-1") == 2
    assert link.payment_link_ref != raw.parsed.payment_link_ref


async def test_the_fields_of_a_link_are_checked_as_those_of_a_request(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    wrong: dict[str, Any] = {
        "channel": "smss",
        "to": PHONE,
        "order_number": " ",
        "currency": "ZAR",
        "total_amount": "-1",
    }
    with pytest.raises(RequestValidationError) as of_request:
        PaymentLinkRequest(**wrong)
    for create in (client.create_payment_link, client.with_raw_response.create_payment_link):
        with pytest.raises(RequestValidationError) as of_fields:
            await create(**wrong)
        assert of_fields.value.faults == of_request.value.faults
        with pytest.raises(TypeError, match="order_nummer"):
            await create(**(wrong | {"order_nummer": "A-1"}))
        with pytest.raises(TypeError, match="missing"):
            await create(idempotency_key="k")  # type: ignore[call-overload]
    assert len(of_request.value.faults) == 3
    assert sandbox.ledger.count("link_created") == 0


class OfTenant(AsyncChat2Pay):
    """A user's subclass, with attributes in both places."""

    __slots__ = ("trail",)

    def __init__(self, tenant: str, **settings: Any) -> None:
        super().__init__(KEY, base_url="http://localhost", **settings)
        self.tenant = tenant
        self.trail = list[str]()

    async def get_transaction(self, **fields: Any) -> Any:
        self.trail.append(self.tenant)
        return await super().get_transaction(**fields)


async def test_a_view_of_a_subclass_has_its_attributes(sandbox: Sandbox) -> None:
    transport = httpx.ASGITransport(app=sandbox.app)
    async with OfTenant("north", transport=transport) as client:
        link = await client.create_payment_link(request_for())
        sandbox.pay(link.payment_link_ref or "")
        view = client.with_options(timeout=5).with_options(retry=RetryPolicy(max_attempts=1))
        assert (view.tenant, view.trail) == ("north", [])
        await client.wait_for_payment(link.payment_link_ref or "")
        assert client.trail == ["north"]


@pytest.mark.parametrize("transport", [None, "fast"])
def test_a_client_is_closed_on_the_loop_that_it_works_on(transport: Any) -> None:
    client = AsyncChat2Pay(KEY, base_url="http://127.0.0.1:9", transport=transport)
    once = client.with_options(retry=RetryPolicy(max_attempts=1))
    with pytest.raises(ConnectionFailedError):
        anyio.run(once.get_configuration)
    with pytest.raises(ConfigurationError, match="another event loop"):
        anyio.run(client.aclose)
    with pytest.raises(ConfigurationError, match="another event loop"):
        anyio.run(client.__aexit__)


def test_a_client_that_was_not_used_is_closed_on_any_loop_and_one_that_is_closed_again() -> None:
    client = AsyncChat2Pay(KEY)
    anyio.run(client.aclose)
    anyio.run(client.aclose)
    with pytest.raises(ConfigurationError, match="this client is closed"):
        anyio.run(client.get_configuration)


async def test_a_client_that_is_dropped_warns_though_not_while_a_view_is_in_use() -> None:
    async with serve_sandbox(Sandbox(KEY)) as sandbox:
        client = AsyncChat2Pay(KEY, base_url=sandbox.url)
        held = [client.with_options(timeout=5)]
        await client.get_configuration()
        del client
        gc.collect()
        await held[0].get_configuration()

        def drop() -> None:
            held.clear()
            gc.collect()

        with pytest.warns(ResourceWarning, match="unclosed connections to 127"):
            drop()


async def test_a_view_is_not_closed(client: AsyncChat2Pay) -> None:
    view = client.with_options(timeout=1)
    with pytest.raises(ConfigurationError, match="close the client it was made from"):
        await view.aclose()
    with pytest.raises(ConfigurationError, match="on the client"):
        async with view:
            pass
    assert (await client.get_configuration()).environment


# Calls that were cancelled -----------------------------------------------------------------------


async def cancelled(client: AsyncChat2Pay, *orders: str) -> None:
    """Make calls whose responses come too late for their callers."""
    for order in orders:
        with anyio.move_on_after(1) as scope:
            await client.create_payment_link(request_for(order))
        assert scope.cancelled_caught


@pytest.fixture
async def slow(sandbox: Sandbox) -> AsyncIterator[AsyncChat2Pay]:
    """A client whose next creates take two seconds to respond, after they were applied."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def late(message: Any) -> None:
            if scope.get("method") == "POST":
                await anyio.sleep(2)
            await send(message)

        await sandbox.app(scope, receive, late)

    transport = httpx.ASGITransport(app=app)
    async with AsyncChat2Pay(KEY, base_url="http://localhost", transport=transport) as client:
        yield client


@pytest.mark.virtual_time
async def test_calls_that_were_cancelled_are_unsettled_until_they_are_resolved(
    slow: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    await cancelled(slow, "A-1", "A-2")
    first, second = slow.unsettled
    assert (first.identity, second.identity) == ("A-1", "A-2")
    assert slow.with_options(timeout=5).unsettled == (first, second), "a view has the same"
    resolution = await slow.resolve(first)
    assert resolution.result.payment_link_ref
    assert list(slow.unsettled) == [second]
    resolutions = await slow.resolve_all()
    assert {one.identity: found.verdict for one, found in resolutions.items()} == {
        "A-2": Verdict.APPLIED
    }
    assert len(slow.unsettled) == 0
    assert await slow.resolve_all() == {}
    assert sandbox.ledger.count("link_created") == 2


@pytest.mark.virtual_time
async def test_what_stays_undetermined_stays_unsettled(
    slow: AsyncChat2Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cancelled(slow, "A-1")
    before = slow.unsettled

    async def undetermined(_pending: Pending, _options: Any, **_: Any) -> Resolution:
        return Resolution(Verdict.UNDETERMINED)

    monkeypatch.setattr(inner(slow)[0].sender, "resolve", undetermined)
    resolutions = await slow.resolve_all()
    assert resolutions == {before[0]: Resolution(Verdict.UNDETERMINED)}
    assert (await slow.resolve(before[0])).verdict is Verdict.UNDETERMINED
    assert slow.unsettled == before


@pytest.mark.virtual_time
async def test_an_error_of_resolve_all_comes_bare_and_settles_nothing(
    slow: AsyncChat2Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cancelled(slow, "A-1", "A-2", "A-3")
    before = slow.unsettled
    sender = inner(slow)[0].sender
    resolve = sender.resolve

    async def breaking(pending: Pending, options: Any, **named: Any) -> Any:
        resolution = await resolve(pending, options, **named)
        if pending.identity == "A-3":
            raise ConfigurationError("a limiter of the user's is broken")
        return resolution

    monkeypatch.setattr(sender, "resolve", breaking)
    with pytest.raises(ConfigurationError, match="a limiter") as caught:
        await slow.resolve_all()
    assert type(caught.value) is ConfigurationError
    assert slow.unsettled == before, "no resolution reached anybody"


@pytest.mark.virtual_time
async def test_a_resolve_all_that_is_cancelled_settles_nothing(
    slow: AsyncChat2Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cancelled(slow, "A-1", "A-2")
    before = slow.unsettled
    sender = inner(slow)[0].sender
    resolve = sender.resolve

    async def slowly(pending: Pending, options: Any, **named: Any) -> Any:
        resolution = await resolve(pending, options, **named)
        if pending.identity == "A-2":
            await anyio.sleep(100)
        return resolution

    monkeypatch.setattr(sender, "resolve", slowly)
    with anyio.move_on_after(50) as scope:
        await slow.resolve_all()
    assert scope.cancelled_caught
    assert slow.unsettled == before


# Over real sockets -------------------------------------------------------------------------------


async def test_links_and_captures_run_side_by_side_over_real_sockets() -> None:
    async with (
        serve_sandbox(Sandbox(api_key=KEY)) as sandbox,
        AsyncChat2Pay(KEY, base_url=sandbox.url, max_connections=8) as client,
    ):

        async def job(number: int) -> None:
            ref = await paid(client, sandbox, f"A-{number}")
            assert (await client.capture_payment(ref)).succeeded

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(job, number)
        ledger = sandbox.ledger
    assert ledger.count("link_created") == ledger.count("captured") == 40
    assert ledger.total("captured", "ZAR") == 40 * Decimal("199.90")
    assert not ledger.twice("link_created")
    assert not ledger.twice("captured")


# Secrets -----------------------------------------------------------------------------------------

SECRETS = (KEY, PHONE, SENDER, CARD, "pay.test/secret-page")
PACKAGE = str(Path(chat2pay_async.__file__).parent)


def shown_by(error: BaseException) -> str:
    """Return what a traceback with local variables shows of our own frames."""
    lines = [repr(error), str(error)]
    for frame in traceback.TracebackException.from_exception(error, capture_locals=True).stack:
        if frame.filename.startswith(PACKAGE):
            lines += [f"{name} = {value}" for name, value in (frame.locals or {}).items()]
    return "\n".join(lines)


@pytest.mark.virtual_time
async def test_nothing_that_a_run_prints_shows_a_secret(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[Event] = []
    shown: list[str] = []
    request = request_for(from_=SENDER, return_payment_link=True)
    gateway = {
        "paymentGatewayDecision": "ACCEPT",
        "maskedCardNumber": CARD,
        "cardExpiryDate": "12/30",
    }
    told = {"message": f"bad number {PHONE}", "errors": [f"card {CARD} of +{SENDER}"]}
    base = "https://service.test/api/v2"
    with respx.mock:
        respx.post(f"{base}/chat-2-pay").mock(
            side_effect=[
                httpx.Response(400, json=told),
                httpx.ReadTimeout(f"gave up on {PHONE}"),
                httpx.ConnectError(f"{KEY} {PHONE}"),
                httpx.Response(
                    201,
                    json={"paymentLinkRef": "r", "paymentLink": "https://pay.test/secret-page"},
                ),
            ]
        )
        respx.post(f"{base}/payment/r/capture").respond(200, json=gateway)
        respx.post(f"{base}/order-receipt").respond(400, json=told | {"receiptLinkRef": "x"})
        respx.get(f"{base}/config").respond(200, json={"apiKey": KEY, "odd": {"apiKey": KEY}})
        respx.get(f"{base}/chat-2-pay/transaction-status").respond(
            200,
            json={"orderNumber": "A-1", "paymentStatuses": [gateway], "phone": PHONE},
        )
        async with AsyncChat2Pay(
            KEY,
            base_url="https://service.test",
            hooks=[heard.append],
            retry=RetryPolicy(max_attempts=2, initial=0),
        ) as client:
            shown += [repr(client), repr(vars(client)), repr(request)]
            for _ in range(3):
                try:
                    shown.append(repr(await client.with_raw_response.create_payment_link(request)))
                except Chat2PayError as error:
                    shown.append(shown_by(error))
                    shown.append(repr(vars(error) | {"body": ""}))
                    if isinstance(error, OutcomeUnknownError):
                        shown.append(repr(error.pending))
            shown.append(repr(await client.capture_payment("r")))
            with pytest.raises(ReceiptNotSentError) as caught:
                await client.create_receipt("r", RECEIPT)
            shown.append(shown_by(caught.value))
            shown.append(repr(await client.get_configuration()))
            shown.append(repr(await client.get_transaction(order_number="A-1")))
    try:
        request_for(to=f"{PHONE}x{PHONE}", from_=f"\x00{SENDER}")
    except RequestValidationError as error:
        shown.append(shown_by(error))
    output = capfd.readouterr()
    everything = [*shown, *map(repr, heard), output.out, output.err]
    everything += [
        record.getMessage() + repr(record.args)
        for record in caplog.records
        if record.name.startswith("chat2pay_async")
    ]
    assert len(shown) >= 13
    assert len(heard) >= 15
    found = [(secret, text) for text in everything for secret in SECRETS if secret in text]
    assert found == []


# What this version does not know ------------------------------------------------------------------


async def test_an_endpoint_that_is_not_known_is_called_by_its_path(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    link = await client.create_payment_link(request_for())
    path = "/api/v2/chat-2-pay/transaction-status"
    found = await client.request("get", path, params={"orderNumber": "A-1"})
    assert found.parsed["paymentLinkRef"] == link.payment_link_ref
    assert found.parsed["totalAmount"] == Decimal("199.90")
    made = await client.request(
        "POST",
        "/api/v2/chat-2-pay",
        json={
            "channel": "sms",
            "to": PHONE,
            "orderNumber": "A-2",
            "currency": "ZAR",
            "totalAmount": Decimal("10.00"),
            "timestamp": "2026-04-27T17:35:58.000Z",
        },
    )
    assert (made.status_code, len(made.attempts)) == (201, 1)
    with pytest.raises(BadRequestError):
        await client.request("POST", "/api/v2/chat-2-pay", json={})
    with pytest.raises(RequestValidationError, match="path"):
        await client.request("GET", "api/v2/config")
    assert sandbox.ledger.count("link_created") == 2


@pytest.mark.anyio
async def test_plain_http_goes_to_a_host_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    url = "http://sandbox:8080"
    with pytest.raises(ConfigurationError, match="plain http would show the API key"):
        AsyncChat2Pay("key", base_url=url)
    async with (
        AsyncChat2Pay("key", base_url=url, allow_http_hosts=["sandbox"]) as client,
        http_client_for(url, allow_http_hosts=["sandbox"]),
    ):
        assert f"of {url}," in repr(client)  # through no proxy
    with pytest.raises(ConfigurationError, match="plain http would show the API key"):
        http_client_for(url)
