"""The sandbox: the service, the customers and the gateway, behind one lock."""

import os
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Final

from chat2pay_async.sandbox._errors import (
    SandboxError,
    UnknownReferenceError,
    extra_required,
)
from chat2pay_async.sandbox._faults.injector import FaultInjector, Script
from chat2pay_async.sandbox._faults.plan import FaultPlan
from chat2pay_async.sandbox._faults.plan_json import named_plan
from chat2pay_async.sandbox._faults.replies import Delivery
from chat2pay_async.sandbox._service import serialization, transitions
from chat2pay_async.sandbox._service.callbacks import Callbacks, Posting
from chat2pay_async.sandbox._service.ledger import Ledger
from chat2pay_async.sandbox._service.records import (
    Cue,
    Currency,
    Decision,
    Environment,
    Transaction,
)
from chat2pay_async.sandbox._service.serialization import Body
from chat2pay_async.sandbox._service.service import ApiRequest, Service
from chat2pay_async.sandbox._service.state import StateFile
from chat2pay_async.sandbox._service.transitions import Change
from chat2pay_async.sandbox._service.wire_forms import WireForms

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


@dataclass(eq=False)
class _World:
    """The things that the accounts of a sandbox have in common.

    Attributes:
        ahead: The time by which its clock was moved.
        has_open_controls: Other machines may play the customer, too.
        url: The URL at which it is served.
        accounts: Its accounts by their keys, the first one first.
    """

    clock: Callable[[], datetime]
    link_ttl: timedelta
    page_ttl: timedelta
    settle_after: timedelta
    currencies: tuple[str, ...]
    seed: int | None
    file: StateFile | None
    ahead: timedelta = timedelta()
    has_open_controls: bool = False
    url: str = "https://sandbox.invalid"
    accounts: dict[str, "Sandbox"] = field(default_factory=dict[str, "Sandbox"])
    lock: Lock = field(default_factory=Lock)

    def now(self) -> datetime:
        return self.clock() + self.ahead


class Sandbox:
    """A Chat 2 Pay account that lives in this process.

    It may be used from several threads at once: while a server responds in one, a test plays the
    customer in another.

    Args:
        api_key: The key that opens it.
        clock: Returns the time; a test passes its own to let links expire, or calls `advance`.
        link_ttl: The time after which a link expires that nobody opens.
        page_ttl: The time after which an opened payment page expires.
        settle_after: The time after which a capture is settled, and can't be reversed any more.
        currencies: The ISO codes that the account takes; the first is its default.
        environment: The kind of configuration, which responses name.
        seed: Makes the references repeatable, and the faults of a plan without a seed.
        faults: The faults to inject: a plan, or the name of a preset.
        wire_forms: The forms of the values in responses and callbacks.
        state: An SQLite file that keeps transactions, effects, settings and the moved clock for the
            next start; `close` closes it. Default: all is forgotten.

    Attributes:
        callbacks: What the account posts of its own accord, and to which URLs.
        wire_forms: The forms of the values in responses and callbacks; set it to change them.

    Raises:
        SandboxError: There is no preset of that name, or the file can't be used.
    """

    def __init__(  # noqa: PLR0913 - all but the key have names
        self,
        api_key: str = "sandbox-key",
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        link_ttl: timedelta = timedelta(minutes=5),
        page_ttl: timedelta = timedelta(minutes=15),
        settle_after: timedelta = timedelta(hours=24),
        currencies: Iterable[str] = tuple(_CURRENCIES),
        environment: Environment = "sandbox",
        seed: int | None = None,
        faults: FaultPlan | str | None = None,
        wire_forms: WireForms | None = None,
        state: str | os.PathLike[str] | None = None,
    ) -> None:
        file = None if state is None else StateFile(state)
        world = _World(clock, link_ttl, page_ttl, settle_after, tuple(currencies), seed, file)
        if file is not None:
            world.ahead = file.ahead
        self._world = world
        try:
            self._open(api_key, environment, wire_forms or WireForms())
            self.set_faults(faults)
        except BaseException:
            self.close()
            raise

    def _open(self, api_key: str, environment: Environment, wire_forms: WireForms) -> None:
        world = self._world
        self._lock = world.lock
        self._not_before = datetime.min.replace(tzinfo=UTC)
        seed = world.seed
        if seed is not None and world.accounts:  # no two accounts have the same references
            seed = Random(f"{seed} {api_key}").getrandbits(64)  # noqa: S311 - a seed repeats them
        self.callbacks: Callbacks = Callbacks(seed)
        self._service = Service(
            api_key=api_key,
            link_ttl=world.link_ttl,
            page_ttl=world.page_ttl,
            settle_after=world.settle_after,
            currencies=_currencies(world.currencies),
            link_url=lambda ref: f"{world.url}/pay/{ref}",
            updated=world.now(),
            callbacks=self.callbacks,
            seed=seed,
            state=None if world.file is None else world.file.account(api_key),
            environment=environment,
            wire_forms=wire_forms,
        )
        self._injector = FaultInjector(self._service, seed)
        world.accounts[api_key] = self

    def __repr__(self) -> str:
        return f"Sandbox(url={self.url!r})"

    def add_account(self, api_key: str, *, environment: Environment = "sandbox") -> "Sandbox":
        """Open another account, with a key and data of its own, behind the same URL.

        The accounts share their clock; what one has, the other's key does not find.

        Returns:
            The account; it has no faults.

        Raises:
            SandboxError: There is an account with that key.
        """
        if api_key in self._world.accounts:
            raise SandboxError("There is an account with that API key")
        account = copy(self)
        account._open(api_key, environment, self.wire_forms)  # noqa: SLF001 - of its own class
        account.set_faults(None)
        return account

    @property
    def accounts(self) -> tuple["Sandbox", ...]:
        """Every account behind this URL, the first one first."""
        return tuple(self._world.accounts.values())

    def account(self, api_key: str) -> "Sandbox | None":
        """Return the account that a key opens, if there is one."""
        return self._world.accounts.get(api_key)

    def close(self) -> None:
        """Close the file with the state, if there is one; the sandbox is not used after that."""
        if self._world.file is not None:
            self._world.file.close()

    @property
    def url(self) -> str:
        """The URL at which it is served; before that, an address that leads nowhere."""
        return self._world.url

    @url.setter
    def url(self, url: str) -> None:
        self._world.url = url

    @property
    def has_open_controls(self) -> bool:
        """True if other machines may play the customer and the gateway over HTTP, too."""
        return self._world.has_open_controls

    @has_open_controls.setter
    def has_open_controls(self, is_open: bool) -> None:
        self._world.has_open_controls = is_open

    @property
    def api_key(self) -> str:
        """The key that opens it."""
        return self._service.api_key

    @property
    def environment(self) -> Environment:
        """The kind of configuration."""
        return self._service.environment

    @property
    def wire_forms(self) -> WireForms:
        """The forms of the values in responses and callbacks."""
        return self._service.wire_forms

    @wire_forms.setter
    def wire_forms(self, forms: WireForms) -> None:
        self._service.wire_forms = forms

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
            self.settle,
            self.decline_capture,
            self.decline_reverse,
            self.fail_receipt,
        )
        named = {act.__name__.replace("_", "-"): act for act in actions}
        return build_app(self, named, tuple(TRIGGERS))

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
        account = self._world.accounts.get(request.key, self)
        if account is not self:
            return account.exchange(request)
        with self._lock:
            return self._injector.exchange(request, self._catch_up())

    def advance(self, seconds: float | timedelta) -> datetime:
        """Move the clock: links expire, captures settle, and late requests are applied.

        Returns:
            The time on the service's clock.

        Raises:
            SandboxError: It would go back.
        """
        try:
            step = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
            _ = self._world.now() + step
        except (OverflowError, ValueError):
            raise SandboxError(f"The clock can't be moved by {seconds} seconds") from None
        if step < timedelta():
            raise SandboxError("The clock does not go back")
        with self._lock:
            self._world.ahead += step
            if self._world.file is not None:
                self._world.file.ahead = self._world.ahead
        for account in self.accounts:
            account.now()
        return self.now()

    def trigger(self, event: str, order_number: str) -> None:
        """Let something happen to an order's latest link: `paid`, `expired`, `cancelled`, ….

        Args:
            event: One of `TRIGGERS`.
            order_number: The order number, or a payment link reference.

        Raises:
            SandboxError: There is no such event, or it can't happen.
            UnknownReferenceError: There is no such order or link.
        """
        play = TRIGGERS.get(event)
        if play is None:
            raise SandboxError(f"{event!r} is not an event; there are {', '.join(TRIGGERS)}")
        account = next((a for a in self.accounts if a.has(order_number)), self)
        try:
            ref = account.ref_of(order_number)
        except UnknownReferenceError:
            if not account.has(order_number):
                raise
            ref = order_number
        play(account, ref)

    def has(self, name: str) -> bool:
        """Return True if the account has a link of an order number, or of a reference."""
        with self._lock:
            return self._service.store.knows(name)

    def change_currencies(self, *currencies: str) -> None:
        """Take these currencies from now on, the first of them by default."""
        with self._lock:
            self._service.change_currencies(_currencies(currencies), self._now())

    def due_callbacks(self) -> list[Posting]:
        """Take what is to be posted now, for who delivers it; `callbacks.ended` is told the end."""
        with self._lock:
            now = self._now()
        return self.callbacks.take(now)

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

    def settle(self, ref: str) -> None:
        """Settle a capture now, whatever the clock says: it can't be reversed any more."""
        self._play(ref, transitions.settle)

    def cancel(self, ref: str) -> None:
        """Cancel a link that nobody has opened, as in the vendor's portal."""
        self._play(ref, transitions.cancel)

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
            self._service.fail_delivery(order_number_or_to)

    def _pay(self, ref: str, decision: Decision) -> None:
        page_ttl = self._service.page_ttl
        number = self._service.gateway_number
        self._play(ref, lambda link, now: transitions.pay(link, decision, now, page_ttl, number()))

    def _play(self, ref: str, transition: Callable[[Transaction, datetime], Change]) -> None:
        # A payment page is open to whoever has its link, whichever account made it.
        account = next((each for each in self.accounts if each.has(ref)), self)
        if account is not self:
            account._play(ref, transition)  # noqa: SLF001 - of its own class
            return
        with self._lock:
            now = self._now()
            self._service.apply(transition(self._service.link(ref, now), now), now)

    def _now(self) -> datetime:
        return self._catch_up() + self._injector.offset

    def _catch_up(self) -> datetime:
        # Every reader and every change finds the late requests applied that were due.
        now = max(self._world.now(), self._not_before)
        self._injector.catch_up(now)
        self._service.tell_of_expiries(now + self._injector.offset)
        return now


def _currencies(codes: Iterable[str]) -> dict[str, Currency]:
    return {
        iso: Currency(number, iso, *_CURRENCIES.get(iso, (iso, iso)))
        for number, iso in enumerate(codes, start=1)
    }


TRIGGERS: Final[Mapping[str, Callable[[Sandbox, str], None]]] = {
    "paid": Sandbox.pay,
    "declined": Sandbox.decline,
    "review": Sandbox.review,
    "expired": Sandbox.expire,
    "cancelled": Sandbox.cancel,
}
"""The events that `Sandbox.trigger` lets happen, by their names."""
