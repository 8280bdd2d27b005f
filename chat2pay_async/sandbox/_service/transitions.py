"""The changes that a payment link may go through: functions from record to record.

Each returns a `Change`, or raises `SandboxError` when the rules do not allow it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._service.ledger import Effect, EffectKind
from chat2pay_async.sandbox._service.records import (
    PAID,
    Channel,
    Cue,
    Decision,
    GatewayEntry,
    LinkStatus,
    Order,
    Stage,
    StatusEntry,
    Transaction,
    TransactionType,
)

_Refusals = Mapping[Stage, str]

_LINK_IS_GONE: Final[_Refusals] = {
    Stage.CANCELLED: "Payment link is already cancelled",
    Stage.EXPIRED: "Payment link has expired",
}
_NOT_PAID: Final[_Refusals] = {
    **_LINK_IS_GONE,
    **dict.fromkeys((Stage.OPEN, Stage.CLICKED), "Payment has not been made"),
    Stage.IN_REVIEW: "Payment is in review",
    Stage.DECLINED: "Payment was declined",
    Stage.REVERSED: "Payment is already reversed",
}

_NO_CLICK: Final[_Refusals] = {
    **_LINK_IS_GONE,
    **dict.fromkeys(
        (*PAID, Stage.IN_REVIEW, Stage.DECLINED, Stage.REVERSED), "Payment link is already used"
    ),
}
_NO_PAYMENT: Final[_Refusals] = {
    **_LINK_IS_GONE,
    **dict.fromkeys(PAID, "Payment is already made"),
    Stage.DECLINED: "Payment is already declined",
    Stage.REVERSED: "Payment is already reversed",
}
_NO_EXPIRY: Final[_Refusals] = {**_NO_CLICK, Stage.EXPIRED: "Payment link is already expired"}
_NO_CANCELLATION: Final[_Refusals] = {
    **_NO_CLICK,
    Stage.CLICKED: "Payment link is already clicked and cannot be cancelled",
}
_NO_CAPTURE: Final[_Refusals] = {
    **_NOT_PAID,
    Stage.SOLD: "Only an authorization can be captured, this is a sale",
    # The contract allows one successful capture per authorization, even if it was voided.
    Stage.CAPTURED: "Payment is already captured",
    Stage.CAPTURE_VOIDED: "Payment is already captured, and the capture was voided",
}
_IS_SETTLED: Final = "Payment is already settled and cannot be reversed"
_NO_REVERSE: Final[_Refusals] = {**_NOT_PAID, Stage.SOLD: _IS_SETTLED}
_NO_SETTLEMENT: Final[_Refusals] = {
    **_NOT_PAID,
    Stage.SOLD: "Payment is already settled",
    Stage.AUTHORIZED: "Payment has not been captured",
    Stage.CAPTURE_VOIDED: "The capture of the payment was voided",
}
# By the vendor's guide, what is pending for over a day can't be reversed.
_LONGEST_PENDING: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Change:
    """A transaction after a change, and the effects of the change."""

    after: Transaction
    effects: tuple[Effect, ...] = ()


def open_link(order: Order, ref: str, at: datetime, ttl: timedelta, *, delivered: bool) -> Change:
    """Make a payment link and send it; to a channel of none, nothing is sent."""
    link = Transaction(
        ref=ref,
        order=order,
        stage=Stage.OPEN,
        deadline=at + ttl,
        steps=(StatusEntry(LinkStatus.PAYMENT_LINK_REQUEST_RECEIVED, at),),
    )
    created = _effect(link, "link_created", at, order.total)
    if order.channel is Channel.NONE:
        return Change(link, (created,))
    status = LinkStatus.PAYMENT_LINK_SENT if delivered else LinkStatus.PAYMENT_LINK_SENT_FAILED
    sent = _effect(link, "message_sent" if delivered else "message_failed", at)
    return Change(_step(link, status, at), (created, sent))


def aged(link: Transaction, now: datetime) -> Transaction:
    """Return the link as it is at a time: expired, if it was not used before its deadline."""
    if link.stage in {Stage.OPEN, Stage.CLICKED} and link.deadline <= now:
        return expire(link, link.deadline).after
    return link


def expire(link: Transaction, at: datetime) -> Change:
    """Let the link expire."""
    _refuse(link, _NO_EXPIRY)
    return Change(replace(_step(link, LinkStatus.PAYMENT_URL_EXPIRED, at), stage=Stage.EXPIRED))


def click(link: Transaction, at: datetime, page_ttl: timedelta) -> Change:
    """Open the payment page; opening it once more changes nothing."""
    _refuse(link, _NO_CLICK)
    if link.stage is Stage.CLICKED:
        return Change(link)
    clicked = replace(
        _step(link, LinkStatus.PAYMENT_LINK_CLICKED, at),
        stage=Stage.CLICKED,
        deadline=at + page_ttl,
    )
    return Change(clicked, (_effect(link, "link_clicked", at),))


def pay(
    link: Transaction, decision: Decision, at: datetime, page_ttl: timedelta, reference: str
) -> Change:
    """Try to pay, as a customer who opens the page first if need be; the gateway decides."""
    _refuse(link, _NO_PAYMENT)
    opened = click(link, at, page_ttl) if link.stage is Stage.OPEN else Change(link)
    order = link.order
    sale = order.transaction_type is TransactionType.SALE
    outcomes: Mapping[Decision, tuple[Stage, EffectKind]] = {
        Decision.ACCEPT: (Stage.SOLD if sale else Stage.AUTHORIZED, "paid"),
        Decision.DECLINE: (Stage.DECLINED, "payment_declined"),
        Decision.REVIEW: (Stage.IN_REVIEW, "payment_in_review"),
    }
    stage, kind = outcomes[decision]
    entry = GatewayEntry(order.transaction_type, decision, order.total, at, reference)
    paid = _step(_decided(opened.after, entry, stage), LinkStatus.PAYMENT_STATUS_RECEIVED, at)
    effects = (*opened.effects, _effect(link, kind, at, order.total))
    if stage is Stage.IN_REVIEW and order.review_auto_reversal:
        void = replace(entry, transaction_type=TransactionType.VOID, decision=Decision.ACCEPT)
        effects = (*effects, _effect(link, "reversed", at, order.total))
        return Change(_decided(paid, void, Stage.REVERSED), effects)
    return Change(paid, effects)


def cancel(link: Transaction, at: datetime) -> Change:
    """Cancel a link that nobody has opened."""
    _refuse(link, _NO_CANCELLATION)
    cancelled = _step(link, LinkStatus.PAYMENT_LINK_CANCELLED, at)
    effect = _effect(link, "link_cancelled", at)
    return Change(replace(cancelled, stage=Stage.CANCELLED), (effect,))


def capture(
    link: Transaction, amount: Decimal | None, at: datetime, reference: str, settle_after: timedelta
) -> Change:
    """Capture authorized money. Default amount: all of it."""
    _refuse(link, _NO_CAPTURE)
    captured = link.order.total if amount is None else amount
    if captured <= 0:
        raise SandboxError("Capture amount must be greater than 0")
    if captured > link.order.total:
        raise SandboxError("Capture amount exceeds the authorized amount")
    entry = GatewayEntry(TransactionType.CAPTURE, Decision.ACCEPT, captured, at, reference)
    if Cue.DECLINE_CAPTURE in link.cues:
        return _declined(link, entry, Cue.DECLINE_CAPTURE, "capture_declined")
    effect = _effect(link, "captured", at, captured)
    after = _decided(link, entry, Stage.CAPTURED)
    return Change(replace(after, settles_at=at + settle_after), (effect,))


def reverse(link: Transaction, at: datetime, reference: str) -> Change:
    """Void a payment: its capture if it has one, and the authorization only after that."""
    _refuse(link, _NO_REVERSE)
    captured = link.stage is Stage.CAPTURED
    if captured and is_settled(link, at):
        raise SandboxError(_IS_SETTLED)
    if link.stage is Stage.AUTHORIZED and (link.payment_at or at) + _LONGEST_PENDING < at:
        raise SandboxError("Payment is pending for over 24 hours and cannot be reversed")
    amount = link.captured_amount if captured else link.order.total
    entry = GatewayEntry(TransactionType.VOID, Decision.ACCEPT, amount, at, reference)
    if Cue.DECLINE_REVERSE in link.cues:
        return _declined(link, entry, Cue.DECLINE_REVERSE, "reverse_declined")
    voided = _decided(link, entry, Stage.CAPTURE_VOIDED if captured else Stage.REVERSED)
    return Change(voided, (_effect(link, "reversed", at, amount),))


def is_settled(link: Transaction, at: datetime) -> bool:
    """Return True for a capture whose money has been passed on."""
    return link.stage is Stage.CAPTURED and link.settles_at is not None and link.settles_at <= at


def settle(link: Transaction, at: datetime) -> Change:
    """Settle a capture now."""
    _refuse(link, _NO_SETTLEMENT)
    if is_settled(link, at):
        raise SandboxError(_NO_SETTLEMENT[Stage.SOLD])
    return Change(replace(link, settles_at=at))


def decline_for_another(
    link: Transaction, kind: TransactionType, at: datetime, reference: str
) -> Change:
    """Add what the gateway declined for another process; nothing else changes."""
    entry = GatewayEntry(kind, Decision.DECLINE, link.order.total, at, reference)
    return Change(replace(link, gateway_entries=(*link.gateway_entries, entry)))


def add_receipt(link: Transaction, receipt_ref: str, at: datetime) -> Change:
    """Make a receipt for a payment that succeeded, and send its link."""
    _refuse(link, _NOT_PAID)
    received = replace(
        _step(link, LinkStatus.RECEIPT_LINK_REQUEST_RECEIVED, at),
        receipts=(*link.receipts, receipt_ref),
    )
    created = _effect(link, "receipt_created", at)
    if Cue.FAIL_RECEIPT in link.cues:
        failed = _step(received, LinkStatus.RECEIPT_LINK_SENT_FAILED, at)
        failed = replace(failed, cues=link.cues - {Cue.FAIL_RECEIPT})
        return Change(failed, (created, _effect(link, "receipt_failed", at)))
    if link.order.channel is Channel.NONE:
        return Change(received, (created,))
    sent = _step(received, LinkStatus.RECEIPT_LINK_SENT, at)
    return Change(sent, (created, _effect(link, "receipt_sent", at)))


def prepare(link: Transaction, cue: Cue) -> Change:
    """Make the next capture, reverse or receipt go wrong."""
    return Change(replace(link, cues=link.cues | {cue}))


def _refuse(link: Transaction, refusals: _Refusals) -> None:
    if message := refusals.get(link.stage):
        raise SandboxError(message)


def _step(link: Transaction, status: LinkStatus, at: datetime) -> Transaction:
    return replace(link, steps=(*link.steps, StatusEntry(status, at)))


def _decided(link: Transaction, entry: GatewayEntry, stage: Stage) -> Transaction:
    entries = (*link.gateway_entries, entry)
    return replace(link, gateway_entries=entries, stage=stage, payment_at=entry.at)


def _declined(link: Transaction, entry: GatewayEntry, cue: Cue, kind: EffectKind) -> Change:
    # The payment's status does not change, and so neither does its time.
    entries = (*link.gateway_entries, replace(entry, decision=Decision.DECLINE))
    after = replace(link, gateway_entries=entries, cues=link.cues - {cue})
    return Change(after, (_effect(link, kind, entry.at, entry.amount),))


def _effect(
    link: Transaction, kind: EffectKind, at: datetime, amount: Decimal | None = None
) -> Effect:
    order = link.order
    return Effect(kind, order.order_number, link.ref, amount, order.currency, at)
