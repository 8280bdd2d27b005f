"""The eight operations: a request in, a status and a body out, with no HTTP about it.

`Service.respond` applies a request and makes its response. The caller injects the faults of either.
"""

import hmac
import random
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Final
from uuid import UUID

from chat2pay_async.sandbox._errors import SandboxError, UnknownReferenceError
from chat2pay_async.sandbox._service import serialization, transitions, validation
from chat2pay_async.sandbox._service.ledger import Effect, Log
from chat2pay_async.sandbox._service.records import Transaction, TransactionType
from chat2pay_async.sandbox._service.serialization import Body, Currency, Integrator
from chat2pay_async.sandbox._service.store import TransactionStore

_INTEGRATORS: Final = (
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a01", "Sandbox API", "APPLICATION"),
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a02", "Sandbox Orders", "OMS"),
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a03", "Sandbox Chat Desk", "CLICKATELL_PRODUCT"),
)
STEPS: Final[Mapping[str, TransactionType]] = {
    "capture_payment": TransactionType.CAPTURE,
    "reverse_payment": TransactionType.VOID,
}


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request to the API, taken out of HTTP.

    Attributes:
        operation: Its name, one of `OPERATIONS`.
        key: The value of the `Authorization` header.
        path: The path as it was sent, still quoted.
        ref: The payment link reference in the path, unquoted.
        has_length: It says how long its body is.
    """

    operation: str
    key: str
    path: str
    ref: str = ""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    has_length: bool = True


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A response of the API, before it becomes HTTP."""

    status: int
    body: Body


@dataclass(eq=False, repr=False)
class Service:
    """An account with its transactions. It does not lock: its owner does.

    Attributes:
        updated: The time at which its integrations last changed.
        integrators: Its integrations by their application id.
        lag: Gives for each change the time during which status look-ups do not show it.
    """

    api_key: str
    link_ttl: timedelta
    page_ttl: timedelta
    currencies: Mapping[str, Currency]
    link_url: Callable[[str], str]
    updated: datetime
    seed: InitVar[int | None]
    lag: Callable[[], timedelta] = timedelta

    def __post_init__(self, seed: int | None) -> None:
        self.store = TransactionStore()
        self.log = Log()
        self.undeliverable: set[str] = set()
        self.integrators = {each.application_id: each for each in _INTEGRATORS}
        self._random = random.Random(seed)  # noqa: S311 - references that a seed can repeat
        self._gateway_numbers = count(7_196_000_000_000_000_000_001)

    def respond(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Do what a request asks for, or refuse it."""
        if not self.knows(request.key):
            return ApiResponse(
                401, serialization.http_error(now, 401, "Unauthorized", request.path)
            )
        try:
            return OPERATIONS[request.operation](self, request, now)
        except UnknownReferenceError as error:
            return ApiResponse(404, serialization.not_found(request.path, str(error)))
        except SandboxError as error:
            return ApiResponse(400, serialization.bad_request(error.args))

    def knows(self, key: str) -> bool:
        """Return True for the account's API key."""
        return hmac.compare_digest(key.encode(), self.api_key.encode())

    def link(self, ref: str, now: datetime) -> Transaction:
        """Return a transaction as it stands at a time."""
        return transitions.aged(self.store.get(ref), now)

    def apply(self, change: transitions.Change, now: datetime) -> Transaction:
        """Keep a change, and log its effects."""
        self.store.put(change.after, now, self.lag())
        for effect in change.effects:
            self.log.append(effect)
        return change.after

    def gateway_number(self) -> str:
        """Return the next reference number of the payment gateway."""
        return str(next(self._gateway_numbers))

    def decline_for_another(self, request: ApiRequest, now: datetime) -> None:
        """Let the gateway decline what another process asks for at the same moment.

        Raises:
            UnknownReferenceError: There is no such link.
        """
        kind = STEPS[request.operation]
        link, number = self.link(request.ref, now), self.gateway_number()
        self.apply(transitions.decline_for_another(link, kind, now, number), now)

    def create_payment_link(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Make a payment link, and send it."""
        order = validation.read_order(request.body, self.currencies)
        delivered = self.undeliverable.isdisjoint((order.order_number, order.to))
        opened = transitions.open_link(
            order, self._new_ref(), now, self.link_ttl, delivered=delivered
        )
        link = self.apply(opened, now)
        url = self.link_url(link.ref)
        return ApiResponse(201, serialization.created(link, url, self.link_ttl, self.page_ttl))

    def cancel_payment_link(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Cancel a link that nobody has opened."""
        link = self.apply(transitions.cancel(self.link(request.ref, now), now), now)
        return ApiResponse(200, serialization.cancelled(link))

    def capture_payment(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Capture authorized money."""
        text = request.query.get("amount")
        amount = None if text is None else validation.read_amount(text)
        link = self.link(request.ref, now)
        change = transitions.capture(link, amount, now, self.gateway_number())
        return ApiResponse(200, serialization.gateway_result(self.apply(change, now)))

    def reverse_payment(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Void a capture or an authorization."""
        link = self.link(request.ref, now)
        change = transitions.reverse(link, now, self.gateway_number())
        return ApiResponse(200, serialization.gateway_result(self.apply(change, now)))

    def create_receipt(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Send a receipt for a payment."""
        link = self.link(validation.read_receipt(request.body), now)
        link = self.apply(transitions.add_receipt(link, self._new_ref(), now), now)
        body = serialization.receipt(link)
        # The receipt exists, only its message was not sent: a 400 with the body of a 201.
        return ApiResponse(400 if "error" in body else 201, body)

    def get_transaction(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Return everything about one transaction."""
        names = ("orderNumber", "paymentLinkRef", "receiptLinkRef")
        order_number, ref, receipt_ref = (request.query.get(name) for name in names)
        if not (order_number or ref or receipt_ref):
            raise validation.InvalidRequestError(f"One of {', '.join(names)} is required")
        found, as_of = self.store.find(order_number, ref, receipt_ref, now)
        return self.status(transitions.aged(found, as_of))

    def status(self, link: Transaction) -> ApiResponse:
        """Return the response to a status look-up."""
        application_id = link.order.application_id or _INTEGRATORS[0].application_id
        return ApiResponse(200, serialization.status(link, self.integrators.get(application_id)))

    def get_configuration(self, _request: ApiRequest, _now: datetime) -> ApiResponse:
        """Return the account's settings."""
        body = serialization.configuration(
            self.updated, self.api_key, self.integrators.values(), self.currencies.values()
        )
        return ApiResponse(200, body)

    def update_integration(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Switch an integration on or off, or remove it."""
        application_uuid, status = validation.read_integration(request.body)
        integrator = self.integrators.get(application_uuid)
        if integrator is None:
            raise UnknownReferenceError(
                f"There is no such integration with application uuid {application_uuid}"
            )
        if status == "DELETED":
            del self.integrators[integrator.application_id]
        else:
            self.integrators[integrator.application_id] = replace(integrator, status=status)
        self.updated = now
        self.log.append(Effect("integration_updated", None, None, None, None, now))
        return ApiResponse(200, {"updateTime": serialization.moment(now)})

    def _new_ref(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))


OPERATIONS: Final[Mapping[str, Callable[[Service, ApiRequest, datetime], ApiResponse]]] = {
    "create_payment_link": Service.create_payment_link,
    "cancel_payment_link": Service.cancel_payment_link,
    "capture_payment": Service.capture_payment,
    "reverse_payment": Service.reverse_payment,
    "create_receipt": Service.create_receipt,
    "get_transaction": Service.get_transaction,
    "get_configuration": Service.get_configuration,
    "update_integration": Service.update_integration,
}
