"""Several keys, each with data of its own; the clock; settlement; and integrations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sandbox_http import STATUS, HttpWorld, order, read

from chat2pay_async.sandbox import InjectedFault, Sandbox, SandboxError, UnknownReferenceError

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]
CREATE = "/api/v2/chat-2-pay"


class World(HttpWorld):
    """The same, with a second account."""

    def __init__(self) -> None:
        super().__init__()
        self.other = self.sandbox.add_account("other-key", environment="production")

    async def captured(self) -> str:
        ref = await self.create(transactionType='"authorization"')
        self.sandbox.pay(ref)
        assert (await self.ask("POST", f"/api/v2/payment/{ref}/capture")).status_code == 200
        return ref

    async def reverse(self, ref: str) -> tuple[int, list[str]]:
        response = await self.ask("POST", f"/api/v2/payment/{ref}/reverse")
        return response.status_code, read(response).get("errors", [])


@pytest.fixture
def world() -> World:
    return World()


# Accounts


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{STATUS}?paymentLinkRef={{ref}}"),
        ("GET", f"{STATUS}?orderNumber=A-1"),
        ("POST", "/api/v2/cancel/{ref}"),
        ("POST", "/api/v2/payment/{ref}/capture"),
        ("POST", "/api/v2/payment/{ref}/reverse"),
    ],
)
async def test_what_one_key_has_made_does_not_exist_for_another(
    world: World, method: str, path: str
) -> None:
    ref = await world.create(transactionType='"authorization"')
    world.sandbox.pay(ref)
    response = await world.ask(method, path.format(ref=ref), key="other-key")
    assert response.status_code == 404
    assert (world.other.links(), len(world.other.ledger)) == ((), 0)
    assert len(world.sandbox.links()) == 1


async def test_each_account_has_its_own_orders_ledger_faults_and_environment(world: World) -> None:
    world.other.next_faults("create_payment_link", ["throttle"])
    assert (await world.ask("POST", CREATE, order(), key="other-key")).status_code == 429
    await world.create()
    assert (await world.ask("POST", CREATE, order(), key="other-key")).status_code == 201
    for account, environment in ((world.sandbox, "sandbox"), (world.other, "production")):
        assert account.ledger.count("link_created", order_number="A-1") == 1
        key = account.api_key
        config = read(await world.ask("GET", "/api/v2/config", key=key))
        assert (config["environment"], config["apiKey"]) == (environment, key)
        status = read(await world.ask("GET", f"{STATUS}?orderNumber=A-1", key=key))
        assert status["environment"] == environment
    assert world.sandbox.ledger.faulted() == 0


async def test_an_unknown_key_opens_nothing(world: World) -> None:
    assert (await world.ask("POST", CREATE, order(), key="nobody's")).status_code == 401
    assert world.sandbox.account("nobody's") is None
    assert world.sandbox.accounts == (world.sandbox, world.other)
    assert world.sandbox.account("other-key") is world.other


def test_a_key_opens_one_account() -> None:
    with pytest.raises(SandboxError, match="There is an account with that API key"):
        Sandbox("k").add_account("k")


async def test_a_page_is_open_to_whoever_has_its_link_whichever_account_made_it(
    world: World,
) -> None:
    response = await world.ask("POST", CREATE, order(), key="other-key")
    world.sandbox.pay(read(response)["paymentLinkRef"])
    assert world.other.ledger.count("paid") == 1
    assert world.sandbox.ledger.count("paid") == 0


async def test_the_controls_are_about_the_account_whose_key_is_sent(world: World) -> None:
    await world.create()
    for key, count in (("", 1), ("sandbox-key", 1), ("other-key", 0), ("nobody's", 1)):
        assert len(read(await world.ask("GET", "/sandbox/links", key=key))["links"]) == count


async def test_an_account_is_opened_over_http(world: World) -> None:
    body = '{"apiKey": "third", "environment": "production"}'
    assert (await world.ask("POST", "/sandbox/accounts", body)).status_code == 200
    config = read(await world.ask("GET", "/api/v2/config", key="third"))
    assert config["environment"] == "production"
    again = await world.ask("POST", "/sandbox/accounts", body)
    assert (again.status_code, read(again)) == (
        400,
        {"message": "There is an account with that API key"},
    )


async def test_currencies_are_changed_over_http(world: World) -> None:
    body = '{"currencies": ["USD"]}'
    assert (await world.ask("PUT", "/sandbox/currencies", body)).status_code == 200
    assert (await world.ask("POST", CREATE, order())).status_code == 400
    assert (await world.ask("POST", CREATE, order(currency='"USD"'))).status_code == 201
    assert (await world.ask("POST", CREATE, order(), key="other-key")).status_code == 201


# The clock


async def test_the_clock_is_moved_for_all_accounts(world: World) -> None:
    await world.create()
    assert (await world.ask("POST", CREATE, order(), key="other-key")).status_code == 201
    start = world.sandbox.now()
    assert world.sandbox.advance(299) == start + timedelta(seconds=299)
    assert [link["stage"] for link in world.sandbox.links()] == ["OPEN"]
    assert world.sandbox.advance(timedelta(seconds=1)) == start + timedelta(minutes=5)
    for account in world.sandbox.accounts:
        assert [link["stage"] for link in account.links()] == ["EXPIRED"]
    assert world.other.now() == start + timedelta(minutes=5)


async def test_the_clock_is_read_and_moved_over_http(world: World) -> None:
    assert read(await world.ask("GET", "/sandbox/clock")) == {"now": "2026-03-01T12:00:00.000+0000"}
    moved = await world.ask("POST", "/sandbox/clock", '{"advance": 0.5}')
    assert read(moved) == {"now": "2026-03-01T12:00:00.500+0000"}
    response = await world.ask("GET", "/api/v2/config")
    assert response.headers["date"] == "Sun, 01 Mar 2026 12:00:00 GMT"
    for body in ('{"advance": -1}', '{"advance": 1e30}', '{"advance": "1"}', "{}", "[]", "{"):
        refused = await world.ask("POST", "/sandbox/clock", body)
        assert (refused.status_code, "message" in read(refused)) == (400, True)
    assert read(await world.ask("GET", "/sandbox/clock")) == read(moved)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300])
def test_the_clock_is_not_moved_out_of_the_calendar(seconds: float) -> None:
    with pytest.raises(SandboxError, match="The clock can't be moved by"):
        Sandbox().advance(seconds)


async def test_late_requests_are_applied_as_the_clock_moves(world: World) -> None:
    late = InjectedFault("apply_late", form="502", seconds=(5, 5))
    world.sandbox.next_faults("create_payment_link", [late])
    assert (await world.ask("POST", CREATE, order())).status_code == 502
    assert world.sandbox.ledger.count("link_created") == 0
    world.sandbox.advance(60)
    assert world.sandbox.ledger.count("link_created") == 1


# Settlement


async def test_a_settled_capture_is_not_reversed(world: World) -> None:
    refs = [await world.captured() for _ in range(3)]
    world.sandbox.advance(86_399)
    assert (await world.reverse(refs[0]))[0] == 200
    world.sandbox.settle(refs[1])
    with pytest.raises(SandboxError, match="already settled"):
        world.sandbox.settle(refs[1])
    world.sandbox.advance(1)
    refused = (400, ["Payment is already settled and cannot be reversed"])
    assert [await world.reverse(ref) for ref in refs[1:]] == [refused, refused]
    assert world.sandbox.ledger.count("reversed") == 1


async def test_the_time_until_settlement_may_be_chosen(world: World) -> None:
    world.sandbox = Sandbox(clock=lambda: world.now, settle_after=timedelta(minutes=1))
    world._transport = type(world._transport)(app=world.sandbox.app)
    ref = await world.captured()
    world.sandbox.advance(60)
    assert (await world.reverse(ref))[0] == 400


async def test_only_a_capture_is_settled(world: World) -> None:
    ref = await world.create(transactionType='"authorization"')
    with pytest.raises(SandboxError, match="Payment has not been made"):
        world.sandbox.settle(ref)
    world.sandbox.pay(ref)
    with pytest.raises(SandboxError, match="Payment has not been captured"):
        world.sandbox.settle(ref)
    response = await world.ask("POST", f"/sandbox/links/{ref}/settle")
    assert response.status_code == 409


async def test_what_is_pending_for_over_a_day_is_not_reversed(world: World) -> None:
    refs = [await world.create(transactionType='"authorization"') for _ in range(2)]
    for ref in refs:
        world.sandbox.pay(ref)
    world.sandbox.advance(86_400)
    assert (await world.reverse(refs[0]))[0] == 200
    world.sandbox.advance(1)
    assert await world.reverse(refs[1]) == (
        400,
        ["Payment is pending for over 24 hours and cannot be reversed"],
    )


# Triggers


@pytest.mark.parametrize("event", ["paid", "declined", "review", "expired", "cancelled"])
async def test_a_trigger_finds_the_order_or_the_link_in_any_account(
    world: World, event: str
) -> None:
    response = await world.ask("POST", CREATE, order(), key="other-key")
    ref = read(response)["paymentLinkRef"]
    assert (await world.ask("POST", f"/sandbox/orders/A-1/{event}")).status_code == 200
    (link,) = world.other.links()
    assert link["stage"] != "OPEN"
    second = await world.ask("POST", CREATE, order(), key="other-key")
    world.sandbox.trigger(event, read(second)["paymentLinkRef"])
    assert {each["stage"] for each in world.other.links()} == {link["stage"]}
    again = await world.ask("POST", f"/sandbox/orders/{ref}/expired")
    assert again.status_code == 409


async def test_an_impossible_trigger_is_an_error(world: World) -> None:
    with pytest.raises(SandboxError, match="'refunded' is not an event; there are paid, "):
        world.sandbox.trigger("refunded", "A-1")
    with pytest.raises(UnknownReferenceError, match="order number A-1"):
        world.sandbox.trigger("paid", "A-1")
    assert (await world.ask("POST", "/sandbox/orders/A-1/paid")).status_code == 404


# Integrations


async def test_an_integration_that_is_not_activated_makes_no_links(world: World) -> None:
    first, second, _ = read(await world.ask("GET", "/api/v2/config"))["integrators"]

    async def switch(integrator: Any, status: str) -> int:
        body = f'{{"applicationUuid":"{integrator["applicationId"]}","status":"{status}"}}'
        return (await world.ask("PUT", "/api/v2/integration", body)).status_code

    async def create(integrator: Any) -> tuple[int, Any]:
        text = order(applicationId=f'"{integrator["applicationId"]}"')
        response = await world.ask("POST", CREATE, text)
        return response.status_code, read(response).get("errors")

    assert await switch(second, "DEACTIVATED") == 200
    assert await create(second) == (400, ["Integration Sandbox Orders is deactivated"])
    assert (await create(first))[0] == 201
    assert await switch(second, "ACTIVATED") == 200
    assert (await create(second))[0] == 201
    assert await switch(second, "DELETED") == 200
    assert await create(second) == (400, ["Integration Sandbox Orders is deleted"])
    assert await switch(second, "ACTIVATED") == 404
    assert await switch(first, "DEACTIVATED") == 200
    assert (await world.ask("POST", CREATE, order())).status_code == 400
    assert world.sandbox.ledger.count("link_created") == 2
