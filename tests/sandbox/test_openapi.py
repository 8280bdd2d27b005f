"""The OpenAPI document of the sandbox: it describes its paths, and what they return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sandbox_http import STATUS, HttpWorld, order, read, receipt
from starlette.applications import Starlette
from starlette.routing import Route

from chat2pay_async.sandbox import Sandbox
from chat2pay_async.sandbox._server import routes

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


@pytest.fixture
def world() -> HttpWorld:
    return HttpWorld()


async def document(world: HttpWorld) -> Any:
    response = await world.ask("GET", "/openapi.json", key="")
    assert response.status_code == 200
    return response.json()


def problems(value: Any, schema: Any, schemas: Any, where: str = "") -> Iterator[str]:
    """Yield what a schema does not allow; what it does not describe counts, too."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema:
        found = [list(problems(value, each, schemas, where)) for each in schema["oneOf"]]
        yield from min(found, key=len)
    elif not isinstance(value, TYPES[schema["type"]]):
        yield f"{where} is no {schema['type']}"
    elif isinstance(value, dict):
        yield from (
            f"{where} lacks {name}" for name in schema.get("required", ()) if name not in value
        )
        for name, inner in value.items():
            if name not in schema["properties"]:
                yield f"{where}.{name} is not described"
            else:
                yield from problems(inner, schema["properties"][name], schemas, f"{where}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from problems(inner, schema["items"], schemas, f"{where}[]")
    elif value not in schema.get("enum", (value,)):
        yield f"{where} is {value!r}"


async def test_every_path_is_described_and_no_other(
    world: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Starlette] = []

    def make(**options: Any) -> Starlette:
        made.append(Starlette(**options))
        return made[0]

    monkeypatch.setattr(routes, "Starlette", make)
    _ = Sandbox().app
    there = {
        (route.path, method.lower())
        for route in made[0].routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {
        (path, method)
        for path, methods in (await document(world))["paths"].items()
        for method in methods
    }
    assert there - {("/openapi.json", "get")} == described
    assert len(described) > 30


async def test_what_operations_return_is_as_described(world: HttpWorld) -> None:
    described = await document(world)
    schemas, found = described["components"]["schemas"], set()

    async def check(method: str, path: str, pattern: str, body: str = "", key: str = "") -> Any:
        response = await world.ask(method, path, body, key or "sandbox-key")
        operation = described["paths"][pattern][method.lower()]
        schema = operation["responses"][str(response.status_code)]["content"]["application/json"]
        assert list(problems(response.json(), schema["schema"], schemas)) == []
        found.add((operation["operationId"], response.status_code))
        return read(response)

    create, items = "/api/v2/chat-2-pay", '[{"name":"Tea","unitPrice":1.5,"quantity":2}]'
    more = {"orderLineItems": items, "additionalData": "{}", "taxAmount": "0"}
    more |= {"transactionType": '"authorization"', "returnPaymentLink": "true"}
    ref = (await check("POST", create, create, order(**more)))["paymentLinkRef"]
    capture, reverse = "/api/v2/payment/{ref}/capture", "/api/v2/payment/{ref}/reverse"
    cancel, receipts = "/api/v2/cancel/{ref}", "/api/v2/order-receipt"
    await check("POST", capture.format(ref=ref), capture)
    world.sandbox.pay(ref)
    await check("POST", capture.format(ref=ref), capture)
    await check("POST", receipts, receipts, receipt(ref))
    world.sandbox.fail_receipt(ref)
    await check("POST", receipts, receipts, receipt(ref))
    await check("GET", f"{STATUS}?paymentLinkRef={ref}", STATUS)
    await check("POST", reverse.format(ref=ref), reverse)
    await check("POST", cancel.format(ref=ref), cancel)
    await check("POST", cancel.format(ref=await world.create()), cancel)
    await check("POST", cancel.format(ref="nobody"), cancel)
    await check("GET", "/api/v2/config", "/api/v2/config", key="nobody")
    config = await check("GET", "/api/v2/config", "/api/v2/config")
    update = (
        f'{{"applicationUuid":"{config["integrators"][0]["applicationId"]}","status":"ACTIVATED"}}'
    )
    await check("PUT", "/api/v2/integration", "/api/v2/integration", update)
    await check("PUT", "/api/v2/integration", "/api/v2/integration", "{}")
    assert len(found) == 14


async def test_an_undescribed_value_is_noticed(world: HttpWorld) -> None:
    schemas = (await document(world))["components"]["schemas"]
    bad = {"message": 1, "errors": ["x", 2], "more": None}
    assert list(problems(bad, schemas["BadRequest"], schemas)) == [
        ".message is no string",
        ".errors[] is no string",
        ".more is not described",
    ]
    assert list(problems({}, schemas["Message"], schemas)) == [" lacks message"]
    step = {"transactionStatus": "GONE"}
    assert list(problems(step, {"type": "object", "properties": step_of(schemas)}, schemas)) == [
        ".transactionStatus is 'GONE'"
    ]


def step_of(schemas: Any) -> Any:
    return schemas["PaymentLink"]["properties"]
