"""The sandbox: the service, the customers and the gateway, behind one lock."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Final

from chat2pay_async.sandbox._errors import extra_required
from chat2pay_async.sandbox._faults.injector import FaultInjector, Script
from chat2pay_async.sandbox._faults.plan import FaultPlan
from chat2pay_async.sandbox._faults.plan_json import named_plan
from chat2pay_async.sandbox._faults.replies import Delivery
from chat2pay_async.sandbox._service import serialization, transitions
from chat2pay_async.sandbox._service.ledger import Ledger
from chat2pay_async.sandbox._service.records import Cue, Decision, Transaction
from chat2pay_async.sandbox._service.serialization import Body, Currency
from chat2pay_async.sandbox._service.service import ApiRequest, Service
from chat2pay_async.sandbox._service.transitions import Change

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_CURRENCIES: Final[Mapping[str, tuple[str, str]]] = {
    "ZAR": ("South African Rand", "R"),
    "USD": ("US Dollar", "$"),
    "EUR": ("Euro", "€"),
    "GBP": ("Pound Sterling", "£"),
    "KES": ("Kenyan Shilling", "KSh"),
    "NGN": ("Nigerian Naira", "₦"),
    "JPY": ("Japanese Yen", "¥"),
    "KWD": ("Kuwaiti Dinar", "KD"),
}


class Sandbox:
    """A Chat 2 Pay account that lives in this process.

    It may be used from several threads at once: while a server responds in one, a test plays the
    customer in another.

    Args:
        api_key: The only key that opens it.
        clock: Returns the time; a test passes its own to let links expire.
        link_ttl: The time after which a link expires that nobody opens.
        page_ttl: The time after which an opened payment page expires.
        currencies: The ISO codes that the account takes; the first is its default.
        seed: Makes the references repeatable, and the faults of a plan without a seed.
        faults: The faults to inject: a plan, or the name of a preset.

    Attributes:
        url: The URL at which it is served; before that, an address that leads nowhere.

    Raises:
        SandboxError: There is no preset of that name.
    """

    def __init__(  # noqa: PLR0913 - all but the key have names
        self,
        api_key: str = "sandbox-key",
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        link_ttl: timedelta = timedelta(minutes=5),
        page_ttl: timedelta = timedelta(minutes=15),
        currencies: Iterable[str] = tuple(_CURRENCIES),
        seed: int | None = None,
        faults: FaultPlan | str | None = None,
    ) -> None:
        self.url = "https://sandbox.invalid"
        self._clock = clock
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self._lock = Lock()
        self._service = Service(
            api_key=api_key,
            link_ttl=link_ttl,
            page_ttl=page_ttl,
            currencies={
                iso: Currency(number, iso, *_CURRENCIES.get(iso, (iso, iso)))
                for number, iso in enumerate(currencies, start=1)
            },
            link_url=lambda ref: f"{self.url}/pay/{ref}",
            updated=clock(),
            seed=seed,
        )
        self._injector = FaultInjector(self._service, seed)
        self.set_faults(faults)

    def __repr__(self) -> str:
        return f"Sandbox(url={self.url!r})"

    @property
    def api_key(self) -> str:
        """The key that opens it."""
        return self._service.api_key

    @cached_property
    def app(self) -> "ASGIApp":
        """The sandbox as an ASGI application, for `httpx.ASGITransport` or a server."""
        with extra_required():
            from chat2pay_async.sandbox._server.routes import build_app  # noqa: PLC0415 - needs the extra
        actions = (
            self.click,
            self.pay,
            self.decline,
            self.review,
            self.expire,
            self.decline_capture,
            self.decline_reverse,
            self.fail_receipt,
        )
        return build_app(self, {act.__name__.replace("_", "-"): act for act in actions})

    @property
    def ledger(self) -> Ledger:
        """The effects until now."""
        with self._lock:
            self._catch_up()
            return self._service.log.snapshot()

    @property
    def faults(self) -> FaultPlan | None:
        """The plan by which things go wrong; set it to a plan, a preset's name, or None."""
        return self._injector.plan

    @faults.setter
    def faults(self, plan: FaultPlan | str | None) -> None:
        self.set_faults(plan)

    def set_faults(self, plan: FaultPlan | str | None) -> None:
        """Let things go wrong by a plan, or a preset's name, from its start; None ends it.

        This ends a storm, and drops what is left of `next_faults`. Requests that are to be applied
        late still are, and changes that lag still do.

        Raises:
            SandboxError: There is no preset of that name.
        """
        chosen = named_plan(plan) if isinstance(plan, str) else plan
        with self._lock:
            self._catch_up()
            self._injector.start(chosen)

    def next_faults(self, operation: str, faults: Script) -> None:
        """Set the exact faults of the next requests of an operation, instead of the plan.

        Each fault is for one request, None for a request that goes well. A kind's name stands for a
        fault of that kind, its details drawn. Only `lag` belongs to a change and not to a request:
        the request that makes the change may have another fault too.

            sandbox.next_faults("create_payment_link", ["drop_after", None, "throttle"])
            late = InjectedFault("apply_late", seconds=(5, 5))
            sandbox.next_faults("capture_payment", ["lag", late])

        Raises:
            SandboxError: A fault has no such kind, or does not happen to that operation.
        """
        with self._lock:
            self._injector.script(operation, faults)

    def apply_late(self) -> int:
        """Apply all requests that are still to be applied late, each at its time.

        The sandbox's clock then stands at the last of these times until the clock that it was
        given has come that far.

        Returns:
            The number of these requests.
        """
        with self._lock:
            self._catch_up()
            self._not_before = max(self._not_before, self._injector.last_due or self._not_before)
            return self._injector.catch_up(self._not_before)

    def now(self) -> datetime:
        """Return the time on the service's clock."""
        with self._lock:
            return self._now()

    def exchange(self, request: ApiRequest) -> Delivery:
        """Answer one request to the API, with its fault if it has one."""
        with self._lock:
            return self._injector.exchange(request, self._catch_up())

    def links(self) -> tuple[Body, ...]:
        """Return every payment link in a few words, oldest first."""
        with self._lock:
            now = self._now()
            aged = [transitions.aged(link, now) for link in self._service.store]
        return tuple(map(serialization.link_summary, aged))

    def ref_of(self, order_number: str) -> str:
        """Return the reference of an order's latest payment link.

        Raises:
            UnknownReferenceError: The order has none.
        """
        with self._lock:
            self._catch_up()
            return self._service.store.latest(order_number).ref

    def click(self, ref: str) -> None:
        """Open the payment page, as the customer.

        This method and those below raise `SandboxError` if the action cannot happen, and its
        subclass `UnknownReferenceError` if there is no such link.
        """
        page_ttl = self._service.page_ttl
        self._play(ref, lambda link, now: transitions.click(link, now, page_ttl))

    def pay(self, ref: str) -> None:
        """Pay, as the customer: a sale, or an authorization where one was asked for."""
        self._pay(ref, Decision.ACCEPT)

    def decline(self, ref: str) -> None:
        """Try to pay, as a customer whose bank declines."""
        self._pay(ref, Decision.DECLINE)

    def review(self, ref: str) -> None:
        """Pay, and be held for review; `pay` or `decline` ends the review."""
        self._pay(ref, Decision.REVIEW)

    def expire(self, ref: str) -> None:
        """Let the link expire now, whatever the clock says."""
        self._play(ref, transitions.expire)

    def decline_capture(self, ref: str) -> None:
        """Let the gateway decline the next capture of this payment."""
        self._play(ref, lambda link, _: transitions.prepare(link, Cue.DECLINE_CAPTURE))

    def decline_reverse(self, ref: str) -> None:
        """Let the gateway decline the next reverse of this payment."""
        self._play(ref, lambda link, _: transitions.prepare(link, Cue.DECLINE_REVERSE))

    def fail_receipt(self, ref: str) -> None:
        """Let the next receipt of this payment be made, but not sent."""
        self._play(ref, lambda link, _: transitions.prepare(link, Cue.FAIL_RECEIPT))

    def fail_delivery(self, order_number_or_to: str) -> None:
        """Deliver no more links for this order number, or to this phone number."""
        with self._lock:
            self._catch_up()
            self._service.undeliverable.add(order_number_or_to)

    def _pay(self, ref: str, decision: Decision) -> None:
        page_ttl = self._service.page_ttl
        number = self._service.gateway_number
        self._play(ref, lambda link, now: transitions.pay(link, decision, now, page_ttl, number()))

    def _play(self, ref: str, transition: Callable[[Transaction, datetime], Change]) -> None:
        with self._lock:
            now = self._now()
            self._service.apply(transition(self._service.link(ref, now), now), now)

    def _now(self) -> datetime:
        return self._catch_up() + self._injector.offset

    def _catch_up(self) -> datetime:
        # Every reader and every change finds the late requests applied that were due.
        now = max(self._clock(), self._not_before)
        self._injector.catch_up(now)
        return now
