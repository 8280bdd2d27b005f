"""The OpenAPI document of the sandbox, written from its rules and the records that it has."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

from chat2pay_async.sandbox._service.records import (
    Channel,
    Decision,
    LinkStatus,
    PaymentStatus,
    TransactionType,
)
from chat2pay_async.sandbox._service.serialization import leaked

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_FLAG: Final[Schema] = {"type": "boolean"}
_WHOLE: Final[Schema] = {"type": "integer"}
_NUMBER: Final[Schema] = {"type": "number"}
_TIME: Final[Schema] = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$",
}
_QUOTED_NUMBER: Final[Schema] = {"type": "string", "pattern": r"^[+-]?[0-9]+(\.[0-9]+)?$"}


def _choice(values: Iterable[str]) -> Schema:
    return {"type": "string", "enum": list(values)}


def _names(kind: type[Enum]) -> Schema:
    return _choice(each.name for each in kind)


def _amount(*, zero: bool = False) -> Schema:
    number = _NUMBER | {"minimum": 0, "exclusiveMinimum": not zero}
    # The service takes a quoted number too.
    return {"oneOf": [number, _QUOTED_NUMBER]}


def _text(longest: int | None = None, **more: object) -> Schema:
    return _TEXT | ({} if longest is None else {"maxLength": longest}) | more


def _object(properties: Mapping[str, Schema], required: str = "", **more: object) -> Schema:
    names = {"required": required.split()} if required else {}
    return {"type": "object", "properties": dict(properties)} | names | more


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_LINE_ITEM: Final = {
    "code": _text(255),
    "name": _text(255, minLength=1),
    "quantity": _WHOLE | {"minimum": 1},
    "sku": _text(255),
    "unitPrice": _amount(),
    "taxAmount": _amount(),
}
_ORDER: Final = {
    "channel": _choice(each.name.lower() for each in Channel),
    "to": _text(minLength=1),
    "from": _TEXT,
    "orderNumber": _text(32, minLength=1),
    "timestamp": _text(format="date-time"),
    "currency": _text(pattern="^[A-Za-z]{3}$"),
    "totalAmount": _amount(),
    "subTotalAmount": _amount(),
    "taxAmount": _amount(zero=True),
    "transactionType": _choice(("authorization", "sale")),
    "returnPaymentLink": _FLAG,
    "paymentReviewAutoReversal": _FLAG,
    "applicationId": _TEXT,
    "additionalData": {"type": "object"},
    "reconciliationId": _text(60),
    "merchantDescriptor": _TEXT,
    "paymentGatewaySettingsId": _TEXT,
    "orderLineItems": _list(_object(_LINE_ITEM, "name unitPrice")),
}
_NOT_SENT: Final = _object({"code": _WHOLE, "description": _TEXT})
_STEP: Final = {
    "transactionStatus": _names(LinkStatus),
    "transactionStatusId": _WHOLE,
    "timestamp": _TIME,
    "error": _NOT_SENT,
}
_GATEWAY: Final = {
    "transactionType": _choice(map(leaked, TransactionType)),
    "totalAmount": _NUMBER,
    "paymentGatewayDecision": _names(Decision),
    "paymentGatewayReqReferenceNumber": _TEXT,
    "paymentGatewayResponseTimestamp": _TIME,
    "paymentGatewayResponseCode": _WHOLE,
    "paymentGatewayErrorDecision": _TEXT,
    "paymentGatewayAuthReconciliationReferenceNumber": _TEXT,
    "cardType": _TEXT,
    "maskedCardNumber": _TEXT,
    "cardExpiryDate": _TEXT,
}
_PAYMENT: Final = {"paymentStatus": _names(PaymentStatus), "paymentStatusId": _TEXT}
_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Order": _object(_ORDER, "channel to orderNumber timestamp currency totalAmount"),
    "ReceiptRequest": _object(
        {
            "paymentLinkRef": _text(minLength=1),
            "receiptLink": _text(minLength=1),
            "timestamp": _text(format="date-time"),
        },
        "paymentLinkRef receiptLink timestamp",
    ),
    "IntegrationRequest": _object(
        {
            "applicationUuid": _text(minLength=1),
            "status": _choice(("ACTIVATED", "DEACTIVATED", "DELETED")),
        },
        "applicationUuid status",
    ),
    "PaymentLink": _object(
        {
            "paymentLinkRef": _TEXT,
            "paymentLinkTTL": _WHOLE,
            "paymentPageTTL": _WHOLE,
            "paymentLink": _TEXT,
            **_STEP,
        },
        "paymentLinkRef transactionStatus transactionStatusId timestamp",
    ),
    "Cancellation": _object(
        {
            "paymentLinkRef": _TEXT,
            "transactionStatus": _choice(("Payment Link Cancelled",)),
            "transactionStatusId": _TEXT,
            "additionalData": _TEXT,
            "timestamp": _TIME,
        },
        "paymentLinkRef transactionStatus transactionStatusId timestamp",
    ),
    "GatewayResult": _object({**_GATEWAY, **_PAYMENT}, "paymentGatewayDecision paymentStatus"),
    "Receipt": _object(
        {"receiptLinkRef": _TEXT, "orderNumber": _TEXT, **_STEP}, "receiptLinkRef orderNumber"
    ),
    "Transaction": _object(
        {
            "orderNumber": _TEXT,
            "paymentLinkRef": _TEXT,
            "transactionStatuses": _list(
                _object(
                    {
                        "transactionStatusId": _WHOLE,
                        "transactionStatusName": _names(LinkStatus),
                        "created": _TIME,
                        "httpResponseCode": _WHOLE,
                        "responseCode": _TEXT,
                        "responseCodeDescription": _TEXT,
                    }
                )
            ),
            "paymentStatuses": _list(_object(_GATEWAY)),
            **_PAYMENT,
            "paymentStatusTimestamp": _TIME,
            "paymentStatusConversionTime": _TIME,
            "totalAmount": _NUMBER,
            "subTotalAmount": _NUMBER,
            "taxAmount": _NUMBER,
            "currency": _TEXT,
            "receiptLinkRef": _TEXT,
            "channelName": _names(Channel),
            "additionalData": _TEXT,
            "integrator": _object({"applicationId": _TEXT, "name": _TEXT}),
            "paymentReviewAutoReversal": _FLAG,
            "transactionType": _choice(map(leaked, TransactionType)),
            "environment": _TEXT,
            "reconciliationId": _TEXT,
            "merchantDescriptor": _TEXT,
            "orderLineItems": _list(
                _object({**_LINE_ITEM, "unitPrice": _NUMBER, "taxAmount": _NUMBER})
            ),
        },
        "orderNumber paymentLinkRef transactionStatuses paymentStatuses paymentStatus",
    ),
    "Configuration": _object(
        {
            "updateTime": _TIME,
            "whatsappChannelEnabled": _FLAG,
            "smsChannelEnabled": _FLAG,
            "integrators": _list(
                _object({"applicationId": _TEXT, "name": _TEXT, "status": _TEXT, "type": _TEXT})
            ),
            "apiKey": _TEXT,
            "supportedCurrencies": _list(
                _object(
                    {
                        "id": _WHOLE,
                        "iso": _TEXT,
                        "name": _TEXT,
                        "symbol": _TEXT,
                        "isDefault": _FLAG,
                    }
                )
            ),
            "environment": _TEXT,
            "cardNetworks": _list(_TEXT),
        },
        "updateTime integrators apiKey supportedCurrencies environment",
    ),
    "IntegrationUpdate": _object({"updateTime": _TIME}, "updateTime"),
    "BadRequest": _object({"message": _TEXT, "errors": _list(_TEXT)}, "message errors"),
    "NotFound": _object(
        {"status": _TEXT, "message": _TEXT, "errors": _list(_TEXT)}, "status message errors"
    ),
    "HttpError": _object(
        {"timestamp": _TIME, "status": _WHOLE, "error": _TEXT, "path": _TEXT},
        "timestamp status error path",
    ),
    "Message": _object({"message": _TEXT}, "message"),
}
_QUERY: Final[Mapping[str, tuple[str, ...]]] = {
    "capture_payment": ("amount",),
    "get_transaction": ("orderNumber", "paymentLinkRef", "receiptLinkRef"),
}
_BODIES: Final[Mapping[str, tuple[str | None, int, str]]] = {
    "create_payment_link": ("Order", 201, "PaymentLink"),
    "cancel_payment_link": (None, 200, "Cancellation"),
    "capture_payment": (None, 200, "GatewayResult"),
    "reverse_payment": (None, 200, "GatewayResult"),
    "create_receipt": ("ReceiptRequest", 201, "Receipt"),
    "get_transaction": (None, 200, "Transaction"),
    "get_configuration": (None, 200, "Configuration"),
    "update_integration": ("IntegrationRequest", 200, "IntegrationUpdate"),
}
"""For each operation its request, its status when all is well, and its response then."""


def document(
    operations: Iterable[tuple[str, str, str]], controls: Iterable[tuple[str, str]]
) -> Schema:
    """Return the document.

    Args:
        operations: The method, the path and the name of each operation of the API.
        controls: The method and the path of each of the sandbox's own.
    """
    paths: dict[str, dict[str, Schema]] = {}
    for method, path, name in operations:
        paths.setdefault(path, {})[method.lower()] = _operation(path, name)
    for method, path in controls:
        paths.setdefault(path, {})[method.lower()] = {
            "tags": ["sandbox"],
            "security": [],
            "parameters": _parameters(path, ()),
            "responses": {
                "200": _response({"type": "object"}),
                **{code: _response(_ref("Message")) for code in ("400", "403", "404", "409")},
            },
        }
    return {
        "openapi": "3.0.3",
        "info": {"title": "Chat 2 Pay sandbox", "version": "2"},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "Authorization"}},
        },
    }


def _operation(path: str, name: str) -> Schema:
    takes, status, returns = _BODIES[name]
    bad = _ref("BadRequest")
    if name == "create_receipt":  # a receipt that was made and not sent
        bad = {"oneOf": [bad, _ref(returns)]}
    body = {"required": True, "content": _json(_ref(takes))} if takes else None
    return {
        "operationId": name,
        "tags": ["Chat 2 Pay"],
        "parameters": _parameters(path, _QUERY.get(name, ())),
        **({"requestBody": body} if body else {}),
        "responses": {
            str(status): _response(_ref(returns)),
            "400": _response(bad),
            "401": _response(_ref("HttpError")),
            "404": _response({"oneOf": [_ref("NotFound"), _ref("HttpError")]}),
            "413": _response(_ref("HttpError")),
        },
    }


def _parameters(path: str, query: Iterable[str]) -> list[Schema]:
    inside = [part.split("}")[0] for part in path.split("{")[1:]]
    return [
        *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in inside),
        *({"name": name, "in": "query", "schema": _TEXT} for name in query),
    ]


def _response(schema: Schema) -> Schema:
    return {"description": "", "content": _json(schema)}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
