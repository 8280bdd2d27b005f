"""Records in the wire forms that the service was seen to write, or else the contract's."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Final

from chat2pay_async.sandbox._service.ledger import Ledger
from chat2pay_async.sandbox._service.records import (
    PAID,
    Currency,
    Decision,
    Environment,
    GatewayEntry,
    Integrator,
    LinkStatus,
    PaymentStatus,
    Stage,
    StatusEntry,
    Transaction,
    TransactionType,
)

Body = Mapping[str, object]

_SENDER: Final = "27840000001"
_MINUTE: Final = timedelta(minutes=1)

_PAYMENT_STATUSES: Final[Mapping[Stage, PaymentStatus]] = {
    **dict.fromkeys(
        (Stage.OPEN, Stage.CLICKED, Stage.CANCELLED, Stage.EXPIRED), PaymentStatus.PENDING
    ),
    Stage.IN_REVIEW: PaymentStatus.REVIEW,
    Stage.DECLINED: PaymentStatus.FAILED,
    **dict.fromkeys(PAID, PaymentStatus.SUCCESS),
    Stage.REVERSED: PaymentStatus.REVERSED,
}
_ERROR_DECISIONS: Final[Mapping[Decision, str]] = {
    Decision.DECLINE: "PROCESSOR_DECLINED",
    Decision.REVIEW: "DECISION_PROFILE_REVIEW",
}
_FAILED_SENDS: Final = (LinkStatus.PAYMENT_LINK_SENT_FAILED, LinkStatus.RECEIPT_LINK_SENT_FAILED)
_NOT_SENT: Final[Body] = {"code": 106, "description": "Invalid destination address"}


def moment(at: datetime) -> str:
    """Write a time in Jackson's old form, as the service does: no colon in the offset."""
    return f"{at.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}+0000"


def bad_request(errors: Iterable[str]) -> Body:
    """Return the body of a 400."""
    return {"message": "Request failed", "errors": list(errors)}


def not_found(path: str, error: str) -> Body:
    """Return the body of a 404 about a transaction or an integration."""
    return {"status": "NOT_FOUND", "message": f"URL {path}", "errors": [error]}


def http_error(at: datetime, status: int, error: str, path: str) -> Body:
    """Return the body of an error that comes before any operation."""
    return {"timestamp": moment(at), "status": status, "error": error, "path": path}


def created(link: Transaction, url: str, link_ttl: timedelta, page_ttl: timedelta) -> Body:
    """Return the body of the response to a create request."""
    last = link.steps[-1]
    return _without_none(
        {
            "paymentLinkRef": link.ref,
            "transactionStatus": last.status.name,
            "transactionStatusId": last.status.value,
            "timestamp": moment(last.at),
            "paymentLinkTTL": link_ttl // _MINUTE,
            "paymentPageTTL": page_ttl // _MINUTE,
            "paymentLink": url if link.order.return_payment_link else None,
            "error": _NOT_SENT if last.status in _FAILED_SENDS else None,
        }
    )


def cancelled(link: Transaction) -> Body:
    """Return the body of the response to a cancellation: in words, its id as a string."""
    last = link.steps[-1]
    return _without_none(
        {
            "paymentLinkRef": link.ref,
            "transactionStatus": last.status.name.replace("_", " ").title(),
            "transactionStatusId": str(last.status.value),
            "additionalData": link.order.additional_data,
            "timestamp": moment(last.at),
        }
    )


def gateway_result(link: Transaction) -> Body:
    """Return the body of the response to a capture or a reverse."""
    entry = link.gateway_entries[-1]
    accepted = entry.decision is Decision.ACCEPT
    status = _PAYMENT_STATUSES[link.stage] if accepted else PaymentStatus.FAILED
    return {
        **_gateway_entry(entry, link.gateway_entries[0]),
        "paymentStatus": status.name,
        "paymentStatusId": str(status.value),
    }


def receipt(link: Transaction) -> Body:
    """Return the body of the response to a receipt request, sent or not."""
    last = link.steps[-1]
    return _without_none(
        {
            "receiptLinkRef": link.receipts[-1],
            "orderNumber": link.order.order_number,
            "timestamp": moment(last.at),
            "transactionStatus": last.status.name,
            "transactionStatusId": last.status.value,
            "error": _NOT_SENT if last.status in _FAILED_SENDS else None,
        }
    )


def status(
    link: Transaction, integrator: Integrator | None, environment: Environment = "sandbox"
) -> Body:
    """Return everything about a transaction but its link's URL."""
    order = link.order
    payment = _PAYMENT_STATUSES[link.stage]
    entries = link.gateway_entries
    paid_at = entries[0].at if entries else None
    return _without_none(
        {
            "orderNumber": order.order_number,
            "paymentLinkRef": link.ref,
            "transactionStatuses": [_status_entry(step) for step in link.steps],
            "paymentStatuses": [_gateway_entry(entry, entries[0]) for entry in entries],
            "paymentStatus": payment.name,
            "paymentStatusId": str(payment.value),
            "paymentStatusTimestamp": link.payment_at and moment(link.payment_at),
            "totalAmount": order.total,
            "receiptLinkRef": link.receipts[-1] if link.receipts else None,
            "channelName": order.channel.name,
            "currency": order.currency,
            "taxAmount": order.tax,
            "subTotalAmount": order.sub_total,
            "additionalData": order.additional_data,
            "paymentStatusConversionTime": paid_at and moment(paid_at),
            "integrator": integrator
            and {"applicationId": integrator.application_id, "name": integrator.name},
            "paymentReviewAutoReversal": order.review_auto_reversal,
            "transactionType": leaked(order.transaction_type),
            "environment": environment,
            "reconciliationId": order.reconciliation_id,
            "merchantDescriptor": order.merchant_descriptor,
            "orderLineItems": order.line_items,
        }
    )


def configuration(
    at: datetime,
    api_key: str,
    integrators: Iterable[Integrator],
    currencies: Iterable[Currency],
    environment: Environment,
) -> Body:
    """Return the account's settings; `cardNetworks` was seen although no contract has it."""
    return {
        "updateTime": moment(at),
        "whatsappChannelEnabled": True,
        "smsChannelEnabled": True,
        "integrators": [
            {
                "applicationId": integrator.application_id,
                "name": integrator.name,
                "status": integrator.status,
                "type": integrator.type,
            }
            for integrator in integrators
        ],
        "apiKey": api_key,
        "supportedCurrencies": [
            {**asdict(currency), "isDefault": index == 0}
            for index, currency in enumerate(currencies)
        ],
        "environment": environment,
        "cardNetworks": ["VISA", "MASTERCARD"],
    }


def payment_callback(link: Transaction, entry: GatewayEntry) -> Body:
    """Return the body of the callback about an answer of the payment gateway."""
    is_last = entry is link.gateway_entries[-1]
    status = _PAYMENT_STATUSES[link.stage] if is_last else PaymentStatus.REVIEW
    return {
        "orderNumber": link.order.order_number,
        "paymentLinkRef": link.ref,
        "from": _SENDER,
        "to": link.order.to.lstrip("+"),
        "currency": link.order.currency,
        **_gateway_entry(entry, link.gateway_entries[0]),
        "paymentStatus": status.name,
        "paymentStatusId": str(status.value),
    }


def link_summary(link: Transaction) -> Body:
    """Return a link as the sandbox's own list shows it."""
    return {
        "paymentLinkRef": link.ref,
        "orderNumber": link.order.order_number,
        "stage": link.stage.name,
        "totalAmount": link.order.total,
        "currency": link.order.currency,
        "paymentStatus": _PAYMENT_STATUSES[link.stage].name,
        "transactionStatus": link.steps[-1].status.name,
    }


def ledger_summary(ledger: Ledger, *, effects: bool) -> Body:
    """Return the ledger as the sandbox's own page shows it."""
    body: dict[str, object] = {
        "counts": ledger.counts,
        "totals": ledger.totals,
        "twice": {kind: list(keys) for kind in ledger.counts if (keys := ledger.twice(kind))},
        "requests": _by_operation(ledger.requests),
        "faults": _by_operation(ledger.faults),
    }
    if effects:
        body["effects"] = [
            _without_none(
                {
                    "kind": effect.kind,
                    "orderNumber": effect.order_number,
                    "paymentLinkRef": effect.payment_link_ref,
                    "amount": effect.amount,
                    "currency": effect.currency,
                    "at": moment(effect.at),
                }
            )
            for effect in ledger.effects
        ]
    return body


def leaked(transaction_type: TransactionType) -> str:
    """Write a transaction type as the service does, which shows its Java value's text."""
    name = transaction_type.name
    return f"TransactionType.{name}(name={name.title()}, id={transaction_type.value})"


def _gateway_entry(entry: GatewayEntry, first: GatewayEntry) -> dict[str, object]:
    return _without_none(
        {
            "transactionType": leaked(entry.transaction_type),
            "totalAmount": entry.amount,
            "paymentGatewayDecision": entry.decision.name,
            "paymentGatewayReqReferenceNumber": entry.reference,
            "paymentGatewayResponseTimestamp": moment(entry.at),
            "paymentGatewayResponseCode": entry.decision.value,
            "paymentGatewayErrorDecision": _ERROR_DECISIONS.get(entry.decision),
            "paymentGatewayAuthReconciliationReferenceNumber": first.reference,
            "cardType": "VISA",
            "maskedCardNumber": "411111******1111",
            "cardExpiryDate": "12-2031",
        }
    )


def _status_entry(step: StatusEntry) -> Body:
    failed = step.status in _FAILED_SENDS
    return {
        "transactionStatusId": step.status.value,
        "transactionStatusName": step.status.name,
        "created": moment(step.at),
        "httpResponseCode": 400 if failed else 200,
        "responseCode": str(_NOT_SENT["code"]) if failed else "0",
        "responseCodeDescription": _NOT_SENT["description"] if failed else "OK",
    }


def _by_operation(
    counts: Mapping[tuple[str, int], int] | Mapping[tuple[str, str], int],
) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (operation, name), count in sorted(counts.items()):
        nested.setdefault(operation, {})[str(name)] = count
    return nested


def _without_none(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
