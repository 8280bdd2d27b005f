"""The eight operations: a request in, a status and a body out, with no HTTP about it.

`Service.respond` applies a request and makes its response. The caller injects the faults of either.
"""

import hmac
import random
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Final
from uuid import UUID

from chat2pay_async.sandbox._errors import SandboxError, UnknownReferenceError
from chat2pay_async.sandbox._service import json, serialization, transitions, validation
from chat2pay_async.sandbox._service.callbacks import CallbackKind, Callbacks, SandboxCallback
from chat2pay_async.sandbox._service.ledger import Effect, EffectKind, Log
from chat2pay_async.sandbox._service.records import (
    Currency,
    Decision,
    Environment,
    Integrator,
    Stage,
    Transaction,
    TransactionType,
)
from chat2pay_async.sandbox._service.serialization import Body
from chat2pay_async.sandbox._service.state import AccountRecord, AccountState, uncollected
from chat2pay_async.sandbox._service.store import TransactionStore
from chat2pay_async.sandbox._service.wire_forms import WireForms

_INTEGRATORS: Final = (
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a01", "Sandbox API", "APPLICATION"),
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a02", "Sandbox Orders", "OMS"),
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a03", "Sandbox Chat Desk", "CLICKATELL_PRODUCT"),
)
_FIRST_GATEWAY_NUMBER: Final = 7_196_000_000_000_000_000_001
_TOLD: Final[frozenset[EffectKind]] = frozenset(
    {
        *("link_created", "link_clicked", "link_cancelled", "paid", "payment_declined"),
        *("payment_in_review", "captured", "reversed"),
    }
)
"""The effects that the service posts a callback about; a link that expires has none."""
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
        settle_after: The time after which a capture is settled.
        updated: The time at which its settings last changed.
        callbacks: What it posts of its own accord.
        state: What outlives the process, if anything does.
        environment: The kind of configuration.
        wire_forms: The forms of the values in what it writes.
        integrators: Its integrations by their application id, deleted ones too.
        lag: Gives for each change the time during which status look-ups do not show it.
    """

    api_key: str
    link_ttl: timedelta
    page_ttl: timedelta
    settle_after: timedelta
    currencies: Mapping[str, Currency]
    link_url: Callable[[str], str]
    updated: datetime
    callbacks: Callbacks
    seed: InitVar[int | None]
    state: AccountState | None = None
    environment: Environment = "sandbox"
    wire_forms: WireForms = field(default_factory=WireForms)
    lag: Callable[[], timedelta] = timedelta

    def __post_init__(self, seed: int | None) -> None:
        self.store = TransactionStore()
        self.log = Log()
        self.undeliverable: set[str] = set()
        self.integrators = {each.application_id: each for each in _INTEGRATORS}
        self._random = random.Random(seed)  # noqa: S311 - references that a seed can repeat
        self._gateway_numbers = count(_FIRST_GATEWAY_NUMBER)
        self._changed_currencies: tuple[Currency, ...] = ()
        self._deadlines: list[tuple[datetime, str]] = []
        if self.state is not None:
            with uncollected():
                self._load(self.state)

    def _load(self, state: AccountState) -> None:
        latest = _FIRST_GATEWAY_NUMBER - 1
        for link in state.transactions():
            self.store.put(link, self.updated, timedelta())
            if link.deadline > self.updated:
                heappush(self._deadlines, (link.deadline, link.ref))
            latest = max(latest, *(int(entry.reference) for entry in link.gateway_entries), 0)
        self._gateway_numbers = count(latest + 1)
        for effect in state.effects():
            self.log.append(effect)
        if record := state.record():
            self.updated = record.updated
            self.integrators = {each.application_id: each for each in record.integrators}
            self.undeliverable = set(record.undeliverable)
            self._changed_currencies = record.currencies
            if record.currencies:
                self.currencies = {each.iso: each for each in record.currencies}

    def respond(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Do what a request asks for, or refuse it."""
        if not self.knows(request.key):
            return ApiResponse(
                401, serialization.http_error(now, 401, "Unauthorized", request.path)
            )
        try:
            response = OPERATIONS[request.operation](self, request, now)
        except UnknownReferenceError as error:
            response = ApiResponse(404, serialization.not_found(request.path, str(error)))
        except SandboxError as error:
            response = ApiResponse(400, serialization.bad_request(error.args))
        return replace(response, body=self.wire_forms.written(response.body))

    def knows(self, key: str) -> bool:
        """Return True for the account's API key."""
        return hmac.compare_digest(key.encode(), self.api_key.encode())

    def link(self, ref: str, now: datetime) -> Transaction:
        """Return a transaction as it stands at a time."""
        return transitions.aged(self.store.get(ref), now)

    def apply(self, change: transitions.Change, now: datetime) -> Transaction:
        """Keep a change, and log its effects."""
        link = change.after
        before = self.store.find_current(link.ref)
        self.store.put(link, now, self.lag())
        for effect in change.effects:
            self.log.append(effect)
        if self.state is not None:
            self.state.keep(link, change.effects)
        if before is None or before.deadline != link.deadline:
            heappush(self._deadlines, (link.deadline, link.ref))
        self._tell_of(change, before, now)
        return link

    def _tell_of(
        self, change: transitions.Change, before: Transaction | None, now: datetime
    ) -> None:
        """Post callbacks about a change: the link's new state, and the gateway's new answers."""
        link, kinds = change.after, {effect.kind for effect in change.effects}
        has_expired = before is not None and link.stage is Stage.EXPIRED is not before.stage
        if kinds & _TOLD or has_expired:
            self._post("transaction_status", link, partial(self._status_body, link), now)
        for entry in link.gateway_entries[len(before.gateway_entries) if before else 0 :]:
            declined_step = entry.decision is Decision.DECLINE and entry.transaction_type in {
                TransactionType.CAPTURE,
                TransactionType.VOID,
            }
            if not declined_step:  # of which the payment's status does not change
                body = partial(serialization.payment_callback, link, entry)
                self._post("payment_status", link, body, now)

    def tell_of_expiries(self, now: datetime) -> None:
        """Post callbacks about the links that have expired until now."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, ref = heappop(self._deadlines)
            before = self.store.get(ref)
            link = transitions.aged(before, now)
            if link is not before:  # it was not opened later, used or cancelled
                self._post("transaction_status", link, partial(self._status_body, link), now)

    def _post(
        self, kind: CallbackKind, link: Transaction | None, body: Callable[[], Body], now: datetime
    ) -> None:
        if self.callbacks.wants(kind):
            text = json.dumps(self.wire_forms.written(body())).encode()
            number, ref = (None, None) if link is None else (link.order.order_number, link.ref)
            self.callbacks.add(SandboxCallback(kind, number, ref, text, now))

    def fail_delivery(self, order_number_or_to: str) -> None:
        """Deliver no more links for an order number, or to a phone number."""
        self.undeliverable.add(order_number_or_to)
        self._keep_settings()

    def change_currencies(self, currencies: Mapping[str, Currency], now: datetime) -> None:
        """Take these currencies from now on, the first of them by default."""
        self.currencies = currencies
        self._changed_currencies = tuple(currencies.values())
        self._settings_changed(now)

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
        integrator = self.integrators.get(order.application_id or _INTEGRATORS[0].application_id)
        if integrator is not None and integrator.status != "ACTIVATED":
            raise SandboxError(f"Integration {integrator.name} is {integrator.status.lower()}")
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
        number = self.gateway_number()
        change = transitions.capture(link, amount, now, number, self.settle_after)
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
        return ApiResponse(200, self._status_body(link))

    def _status_body(self, link: Transaction) -> Body:
        application_id = link.order.application_id or _INTEGRATORS[0].application_id
        integrator = self._known_integrators().get(application_id)
        return serialization.status(link, integrator, self.environment)

    def _known_integrators(self) -> dict[str, Integrator]:
        every = self.integrators.items()
        return {name: each for name, each in every if each.status != "DELETED"}

    def get_configuration(self, _request: ApiRequest, _now: datetime) -> ApiResponse:
        """Return the account's settings."""
        return ApiResponse(200, self.configuration())

    def configuration(self) -> Body:
        """Return the account's settings as they are written."""
        integrators, currencies = self._known_integrators().values(), self.currencies.values()
        return serialization.configuration(
            self.updated, self.api_key, integrators, currencies, self.environment
        )

    def update_integration(self, request: ApiRequest, now: datetime) -> ApiResponse:
        """Switch an integration on or off, or remove it."""
        application_uuid, status = validation.read_integration(request.body)
        integrator = self._known_integrators().get(application_uuid)
        if integrator is None:
            raise UnknownReferenceError(
                f"There is no such integration with application uuid {application_uuid}"
            )
        self.integrators[integrator.application_id] = replace(integrator, status=status)
        effect = Effect("integration_updated", None, None, None, None, now)
        self.log.append(effect)
        if self.state is not None:
            self.state.keep(None, (effect,))
        self._settings_changed(now)
        return ApiResponse(200, {"updateTime": serialization.moment(now)})

    def _settings_changed(self, now: datetime) -> None:
        self.updated = now
        self._keep_settings()
        self._post("configuration", None, self.configuration, now)

    def _keep_settings(self) -> None:
        if self.state is not None:
            integrators = tuple(self.integrators.values())
            undeliverable, currencies = frozenset(self.undeliverable), self._changed_currencies
            record = AccountRecord(self.updated, integrators, undeliverable, currencies)
            self.state.keep_record(record)

    def _new_ref(self) -> str:
        while True:
            ref = str(UUID(int=self._random.getrandbits(128), version=4))
            # A seed repeats the references of the last start, some of which the state has.
            if self.store.find_current(ref) is None:
                return ref


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
