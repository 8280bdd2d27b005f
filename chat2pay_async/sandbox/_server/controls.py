"""The sandbox's own paths, below `/sandbox`: the clock, faults, callbacks, and what took place."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from starlette.requests import Request

from chat2pay_async.sandbox._faults.injector import Script
from chat2pay_async.sandbox._faults.plan import FaultPlan
from chat2pay_async.sandbox._faults.plan_json import plan_body, read_object, read_plan, read_script
from chat2pay_async.sandbox._faults.replies import Delivery
from chat2pay_async.sandbox._service import serialization
from chat2pay_async.sandbox._service.callbacks import CallbackKind, Callbacks
from chat2pay_async.sandbox._service.ledger import Ledger
from chat2pay_async.sandbox._service.records import Environment
from chat2pay_async.sandbox._service.serialization import Body
from chat2pay_async.sandbox._service.service import ApiRequest
from chat2pay_async.sandbox._service.wire_forms import WireForms


class Sandbox(Protocol):
    """The part of a sandbox that its paths use."""

    @property
    def wire_forms(self) -> WireForms: ...
    @wire_forms.setter
    def wire_forms(self, forms: WireForms) -> None: ...
    @property
    def callbacks(self) -> Callbacks: ...
    @property
    def has_open_controls(self) -> bool: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def faults(self) -> FaultPlan | None: ...
    def account(self, api_key: str) -> "Sandbox | None": ...
    def add_account(self, api_key: str, *, environment: Environment) -> "Sandbox": ...
    def advance(self, seconds: float) -> datetime: ...
    def now(self) -> datetime: ...
    def exchange(self, request: ApiRequest) -> Delivery: ...
    def links(self) -> tuple[Body, ...]: ...
    def change_currencies(self, *currencies: str) -> None: ...
    def set_faults(self, plan: FaultPlan | str | None) -> None: ...
    def next_faults(self, operation: str, faults: Script) -> None: ...
    def apply_late(self) -> int: ...
    def fail_delivery(self, order_number_or_to: str) -> None: ...
    def trigger(self, event: str, order_number: str) -> None: ...


Control = Callable[[Sandbox, Request, bytes], Body]


@dataclass(frozen=True, slots=True)
class _Move:
    """Seconds by which the clock is moved."""

    advance: float


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL for callbacks, and the way in which they are delivered."""

    url: str
    kinds: tuple[CallbackKind, ...] = ()
    copies: int = 1
    shuffle: float = 0.0


@dataclass(frozen=True, slots=True)
class _Account:
    """Another account."""

    apiKey: str  # noqa: N815 - as the API writes it
    environment: Environment = "sandbox"


@dataclass(frozen=True, slots=True)
class _Currencies:
    """The currencies that an account takes."""

    currencies: tuple[str, ...]


def _ledger(sandbox: Sandbox, request: Request, _body: bytes) -> Body:
    effects = request.query_params.get("effects", "0") not in {"", "0"}
    return serialization.ledger_summary(sandbox.ledger, effects=effects)


def _faults(sandbox: Sandbox, request: Request, body: bytes) -> Body:
    if request.method != "GET":
        sandbox.set_faults(read_plan(body) if request.method == "PUT" else None)
    return {"plan": sandbox.faults and plan_body(sandbox.faults)}


def _next_faults(sandbox: Sandbox, _request: Request, body: bytes) -> Body:
    sandbox.next_faults(*read_script(body))
    return {"message": "Done"}


def _clock(sandbox: Sandbox, request: Request, body: bytes) -> Body:
    if request.method == "POST":
        sandbox.advance(read_object(body, _Move, "clock").advance)
    return {"now": serialization.moment(sandbox.now())}


def _wire(sandbox: Sandbox, request: Request, body: bytes) -> Body:
    if request.method != "GET":
        is_set = request.method == "PUT"
        sandbox.wire_forms = read_object(body, WireForms, "wire") if is_set else WireForms()
    return sandbox.wire_forms.body()


def _callbacks(sandbox: Sandbox, request: Request, body: bytes) -> Body:
    callbacks = sandbox.callbacks
    if request.method == "POST":
        target = read_object(body, _Target, "callbacks")
        callbacks.send_to(target.url, *target.kinds)
        callbacks.copies, callbacks.shuffle = target.copies, target.shuffle
    elif request.method == "DELETE":
        callbacks.stop()
    return {
        "urls": callbacks.urls,
        "copies": callbacks.copies,
        "pending": callbacks.pending,
        "deliveries": [
            {
                "kind": each.callback.kind,
                "orderNumber": each.callback.order_number,
                "paymentLinkRef": each.callback.payment_link_ref,
                "url": each.url,
                "attempt": each.attempt,
                "status": each.status,
                "error": each.error,
                "at": serialization.moment(each.at),
            }
            for each in callbacks.deliveries
        ],
    }


def _accounts(sandbox: Sandbox, _request: Request, body: bytes) -> Body:
    account = read_object(body, _Account, "account")
    sandbox.add_account(account.apiKey, environment=account.environment)
    return {"message": "Done"}


def _currencies(sandbox: Sandbox, _request: Request, body: bytes) -> Body:
    sandbox.change_currencies(*read_object(body, _Currencies, "currencies").currencies)
    return {"message": "Done"}


CONTROLS: Final[tuple[tuple[str, str, Control], ...]] = (
    ("GET", "ledger", _ledger),
    ("GET", "links", lambda sandbox, _request, _body: {"links": sandbox.links()}),
    ("GET", "faults", _faults),
    ("PUT", "faults", _faults),
    ("DELETE", "faults", _faults),
    ("POST", "faults/next", _next_faults),
    ("POST", "apply-late", lambda sandbox, _request, _body: {"applied": sandbox.apply_late()}),
    ("GET", "clock", _clock),
    ("POST", "clock", _clock),
    ("GET", "wire", _wire),
    ("PUT", "wire", _wire),
    ("DELETE", "wire", _wire),
    ("GET", "callbacks", _callbacks),
    ("POST", "callbacks", _callbacks),
    ("DELETE", "callbacks", _callbacks),
    ("POST", "accounts", _accounts),
    ("PUT", "currencies", _currencies),
)
"""Method, path and what it does; an `Authorization` header says which account it is about."""
