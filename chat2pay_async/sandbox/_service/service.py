"""The eight operations: a call in, a status and a body out, with no HTTP about it.

`Service.answer` applies a call and words its answer; what happens to the answer on its way back
(or to the call on its way here) is the business of whoever calls it.
"""

import hmac
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from types import MappingProxyType
from typing import Final
from uuid import UUID

from chat2pay_async.sandbox._errors import SandboxError, UnknownReferenceError
from chat2pay_async.sandbox._service import serialization, transitions, validation
from chat2pay_async.sandbox._service.ledger import Effect, Log
from chat2pay_async.sandbox._service.records import Transaction
from chat2pay_async.sandbox._service.serialization import Body, Currency, Integrator
from chat2pay_async.sandbox._service.store import Book

_INTEGRATORS: Final = (
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a01", "Sandbox API", "APPLICATION"),
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a02", "Sandbox Orders", "OMS"),
    Integrator("7b7f5c1e-52a4-4a53-9d3a-0d6a6f0c1a03", "Sandbox Chat Desk", "CLICKATELL_PRODUCT"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request, taken out of HTTP.

    Attributes:
        operation: Its name, one of `OPERATIONS`.
        key: What the `Authorization` header says.
        path: The path as it was sent, still quoted.
        ref: The payment link reference in the path, unquoted.
    """

    operation: str
    key: str
    path: str
    ref: str = ""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, before it becomes HTTP."""

    status: int
    body: Body


@dataclass(frozen=True, slots=True)
class Settings:
    """What an account is set to."""

    api_key: str
    link_ttl: timedelta
    page_ttl: timedelta
    currencies: Mapping[str, Currency]
    link_url: Callable[[str], str]


class Service:
    """An account with its transactions. It does not lock: its owner does.

    Attributes:
        lag: Asked at each change how long status look-ups do not show it.
    """

    def __init__(self, settings: Settings, started: datetime, seed: int | None) -> None:
        self.settings = settings
        self.book = Book()
        self.log = Log()
        self.undeliverable: set[str] = set()
        self.lag: Callable[[], timedelta] = timedelta
        self._integrators = {each.application_id: each for each in _INTEGRATORS}
        self._updated = started
        self._random = random.Random(seed)  # noqa: S311 - references that a seed can repeat
        self._gateway_numbers = count(7_196_000_000_000_000_000_001)

    def answer(self, call: Call, now: datetime) -> Answer:
        """Do what a call asks for, or refuse it."""
        if not self.knows(call.key):
            return Answer(401, serialization.http_error(now, 401, "Unauthorized", call.path))
        try:
            return OPERATIONS[call.operation](self, call, now)
        except UnknownReferenceError as error:
            return Answer(404, serialization.not_found(call.path, str(error)))
        except validation.InvalidRequestError as error:
            return Answer(400, serialization.bad_request(error.faults))
        except SandboxError as error:
            return Answer(400, serialization.bad_request([str(error)]))

    def knows(self, key: str) -> bool:
        """Return whether it is the account's API key."""
        return hmac.compare_digest(key.encode(), self.settings.api_key.encode())

    def link(self, ref: str, now: datetime) -> Transaction:
        """Return a transaction as it stands at a time."""
        return transitions.aged(self.book.get(ref), now)

    def apply(self, change: transitions.Change, now: datetime) -> Transaction:
        """Make a change true: in the book, and in the log of effects."""
        self.book.put(change.after, now, self.lag())
        self._note(change.effects)
        return change.after

    def gateway_number(self) -> str:
        """Return the next reference number of the payment gateway."""
        return str(next(self._gateway_numbers))

    def create_payment_link(self, call: Call, now: datetime) -> Answer:
        """Make a payment link, and send it."""
        settings = self.settings
        order = validation.read_order(call.body, settings.currencies)
        delivered = self.undeliverable.isdisjoint((order.order_number, order.to))
        opened = transitions.open_link(
            order, self._new_ref(), now, settings.link_ttl, delivered=delivered
        )
        link = self.apply(opened, now)
        url = settings.link_url(link.ref)
        return Answer(201, serialization.created(link, url, settings.link_ttl, settings.page_ttl))

    def cancel_payment_link(self, call: Call, now: datetime) -> Answer:
        """Cancel a link that nobody has opened."""
        link = self.apply(transitions.cancel(self.link(call.ref, now), now), now)
        return Answer(200, serialization.cancelled(link))

    def capture_payment(self, call: Call, now: datetime) -> Answer:
        """Take authorized money."""
        text = call.query.get("amount")
        amount = None if text is None else validation.read_amount(text)
        link = self.link(call.ref, now)
        change = transitions.capture(link, amount, now, self.gateway_number())
        return Answer(200, serialization.gateway_result(self.apply(change, now)))

    def reverse_payment(self, call: Call, now: datetime) -> Answer:
        """Give authorized or captured money back."""
        link = self.link(call.ref, now)
        change = transitions.reverse(link, now, self.gateway_number())
        return Answer(200, serialization.gateway_result(self.apply(change, now)))

    def create_receipt(self, call: Call, now: datetime) -> Answer:
        """Send a receipt for a payment."""
        request = validation.read_receipt(call.body)
        link = self.link(request.payment_link_ref, now)
        link = self.apply(transitions.add_receipt(link, self._new_ref(), now), now)
        body = serialization.receipt(link)
        # The receipt is there, only its message is not: a 400 that carries what a 201 would.
        return Answer(400 if "error" in body else 201, body)

    def get_transaction(self, call: Call, now: datetime) -> Answer:
        """Tell everything about one transaction."""
        names = ("orderNumber", "paymentLinkRef", "receiptLinkRef")
        order_number, ref, receipt_ref = (call.query.get(name) for name in names)
        if not (order_number or ref or receipt_ref):
            raise validation.InvalidRequestError(f"One of {', '.join(names)} is required")
        found, as_of = self.book.find(order_number, ref, receipt_ref, now)
        return self.status(transitions.aged(found, as_of))

    def status(self, link: Transaction) -> Answer:
        """Word a status answer."""
        application_id = link.order.application_id or _INTEGRATORS[0].application_id
        return Answer(200, serialization.status(link, self._integrators.get(application_id)))

    def get_configuration(self, _call: Call, _now: datetime) -> Answer:
        """Tell how the account is set up."""
        settings = self.settings
        body = serialization.configuration(
            self._updated,
            settings.api_key,
            self._integrators.values(),
            settings.currencies.values(),
        )
        return Answer(200, body)

    def update_integration(self, call: Call, now: datetime) -> Answer:
        """Switch an integration on or off, or remove it."""
        request = validation.read_integration(call.body)
        integrator = self._integrators.get(request.application_uuid)
        if integrator is None:
            raise UnknownReferenceError(
                f"There is no such integration with application uuid {request.application_uuid}"
            )
        if request.status == "DELETED":
            del self._integrators[integrator.application_id]
        else:
            changed = replace(integrator, status=request.status)
            self._integrators[integrator.application_id] = changed
        self._updated = now
        self._note([Effect("integration_updated", None, None, None, None, now)])
        return Answer(200, {"updateTime": serialization.moment(now)})

    def _note(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.log.append(effect)

    def _new_ref(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))


OPERATIONS: Final[Mapping[str, Callable[[Service, Call, datetime], Answer]]] = MappingProxyType(
    {
        "create_payment_link": Service.create_payment_link,
        "cancel_payment_link": Service.cancel_payment_link,
        "capture_payment": Service.capture_payment,
        "reverse_payment": Service.reverse_payment,
        "create_receipt": Service.create_receipt,
        "get_transaction": Service.get_transaction,
        "get_configuration": Service.get_configuration,
        "update_integration": Service.update_integration,
    }
)
