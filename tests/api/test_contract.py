"""Every fact of the published contract is covered by the models and operations, and no fact more.

`walk` goes through the contract, puts each fact to the package and notes the gaps. The last part
of the file changes the contract one fact at a time, to show that a walk notices.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs

import attrs
import pytest

from chat2pay_async import errors, models
from chat2pay_async._api import codec
from chat2pay_async._api import requests as _requests
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import OPERATIONS, Operation, prepare
from chat2pay_async._api.responses import read_response
from chat2pay_async._config import DEFAULT_BASE_URL
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Proof

Contract = dict[str, Any]
Mutation = Callable[[Contract], object]

CONTRACT_FILE = Path(__file__).parent.parent / "data" / "chat2pay-v2.openapi.json"

RESPONSES: dict[str, type[Any]] = {
    "CurrencyResponse": models.Currency,
    "DetailedWidgetConfigResponse": models.Configuration,
    "EntityUpdatedResponse": models.IntegrationUpdate,
    "IntegratorResponse": models.Integrator,
    "IntegratorStatusResponse": models.Integrator,
    "LineItemResponse": models.LineItem,
    "PayByLinkTransactionLogResponse": models.PaymentLink,
    "PaymentCancellationResponse": models.Cancellation,
    "PaymentGatewayOperationResultResponse": models.GatewayResult,
    "PaymentReceiptResponse": models.Receipt,
    "PaymentStatusLogResponse": models.PaymentStatusEntry,
    "ThirdPartySystemErrorResponse": models.ThirdPartyError,
    "TransactionStatusEndpointResponse": models.Transaction,
    "TransactionStatusEntryResponse": models.TransactionStatusEntry,
}
REQUESTS: dict[str, type[Any]] = {
    "IntegrationStatusRequest": _requests.IntegrationRequest,
    "LineItemRequest": _requests.LineItem,
    "PayByLinkRequest": _requests.PaymentLinkRequest,
    "PaymentReceiptRequest": _requests.ReceiptRequest,
}
# Where an error schema's field is found on the error: (attribute, type in the contract).
ERRORS: dict[str, dict[str, tuple[str, str]]] = {
    "BadRequestErrorResponse": {
        "message": ("message", "string"),
        "errors": ("errors", "array"),
    },
    "NotFoundErrorResponse": {
        "message": ("message", "string"),
        "errors": ("errors", "array"),
        "status": ("body", "string"),
    },
    "UnauthorizedErrorResponse": {
        "message": ("message", "string"),
        "error": ("message", "string"),
        "status": ("status_code", "integer"),
        "timestamp": ("body", "string"),
        "path": ("body", "string"),
    },
}
ANY_JSON = "JsonNode"
ANY_JSON_REFERENCE = {"$ref": "#/components/schemas/JsonNode"}

# One class serves both integrators; in a transaction there is less to tell.
LACKING = {"IntegratorResponse": {"status", "type"}}
OWN_ATTRIBUTES = {"extra", "recovered", "replayed"}

# Texts of the contract that are more than text: it declares `additionalData` a string in some
# answers, and sends JSON; ids are integers here and strings there.
ANYTHING = {"additionalData"}

# The contract's enums of requests name more than a request may say.
REFUSED = {"VOID", "CAPTURE"}
# An order number is an identity, so that the empty one, which the contract allows, is refused.
NEVER_EMPTY = {"orderNumber"}
# Always sent, though the caller need not give it.
DEFAULTED = {"timestamp"}

ERROR_CLASSES: dict[int, type[errors.ApiError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    404: errors.NotFoundError,
}
KEYWORDS = {
    "$ref", "default", "enum", "exclusiveMinimum", "format", "items", "maxLength", "minLength",
    "minimum", "pattern", "type", "uniqueItems",
}  # fmt: skip
# A response proves nothing unless it is about the request.
ABOUT_THE_REQUEST: dict[str, dict[str, Any]] = {
    "cancelLink": {"paymentLinkRef": "8a1f", "transactionStatus": "Payment Link Cancelled"},
    "capturePayment": {"transactionType": "Capture", "totalAmount": Decimal("12.50")},
    "reverseTransaction": {"transactionType": "Void"},
    "getTransactionStatus": {"orderNumber": "1001", "paymentLinkRef": "8a1f"},
}
FORMATS = {("string", "date-time"), ("integer", "int32")}
LEAKED = re.compile(r"\w+Type\.(\w+)\(name=(\w+), id=\d\)")

NOW = datetime(2021, 4, 27, 17, 35, 58, tzinfo=UTC)
NOW_ON_THE_WIRE = "2021-04-27T17:35:58.000Z"

MINIMAL: dict[str, dict[str, Any]] = {
    "IntegrationStatusRequest": {"application_uuid": "c0ffee", "status": "ACTIVATED"},
    "LineItemRequest": {"name": "Tea", "unit_price": "9.90"},
    "PayByLinkRequest": {
        "channel": "sms",
        "currency": "ZAR",
        "order_number": "A-1001",
        "timestamp": NOW,
        "to": "27831234567",
        "total_amount": "199.90",
    },
    "PaymentReceiptRequest": {
        "payment_link_ref": "8a1f",
        "receipt_link": "https://shop.example/receipt",
        "timestamp": NOW,
    },
}


@cache
def contract_text() -> str:
    return CONTRACT_FILE.read_text(encoding="utf-8")


def contract() -> Contract:
    """The contract; a fresh one, so that a test may change it."""
    loaded: Contract = json.loads(contract_text())
    return loaded


HINTS: dict[type[Any], dict[str, Any]] = {
    kind: get_type_hints(kind)
    for kind in (
        *RESPONSES.values(),
        *REQUESTS.values(),
        *(operation.request for operation in OPERATIONS),
    )
}


def names_of(kind: type[Any]) -> dict[str, str]:
    """Wire name → attribute."""
    return {
        codec.wire_name(field.name): field.name
        for field in attrs.fields(kind)
        if field.name not in OWN_ATTRIBUTES
    }


def referenced(schema: Contract) -> str:
    return str(schema["$ref"]).removeprefix("#/components/schemas/")


def enum_name(value: str) -> str:
    """The member that a value of the contract's enums names."""
    leaked = LEAKED.fullmatch(value)
    return leaked[1] if leaked else value


class Walk:
    """Goes through a contract, counts its facts and notes what the package does not cover."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.schemas: dict[str, Contract] = contract["components"]["schemas"]
        self.facts: Counter[str] = Counter()
        self.gaps: list[str] = []
        self.walk_top()
        for name, schema in self.schemas.items():
            self.walk_schema(name, schema)
        self.walk_operations()

    def fact(self, kind: str, where: str, *, holds: bool) -> None:
        self.facts[kind] += 1
        if not holds:
            self.gaps.append(f"{kind} {where}")

    def expect(self, where: str, *, holds: bool) -> None:
        """Look further into a fact that is counted already."""
        if not holds:
            self.gaps.append(where)

    def walk_top(self) -> None:
        servers = [server["url"] for server in self.contract["servers"]]
        self.fact("server", str(servers), holds=servers == [DEFAULT_BASE_URL])
        schemes = self.contract["components"]["securitySchemes"]
        bare_key = {"type": "apiKey", "name": "Authorization", "in": "header"}
        self.fact("security", str(schemes), holds=schemes == {"c2p": bare_key})
        mapped = RESPONSES.keys() | REQUESTS.keys() | ERRORS.keys() | {ANY_JSON}
        for name in sorted(mapped - self.schemas.keys()):
            self.gaps.append(f"schema {name} is gone")

    # Schemas -------------------------------------------------------------------------------------

    def walk_schema(self, name: str, schema: Contract) -> None:
        known = schema.keys() <= {"type", "properties", "required"} and schema["type"] == "object"
        mapped = name in RESPONSES or name in REQUESTS or name in ERRORS
        self.fact("schema", name, holds=known and (mapped or schema == {"type": "object"}))
        properties: dict[str, Contract] = schema.get("properties", {})
        required = schema.get("required", [])
        if name in ERRORS:
            self.walk_error(name, properties)
        elif mapped:
            self.walk_names(name, properties)
            for field, facts in properties.items():
                self.walk_field(name, field, facts)
        for field in required:
            self.fact("required", f"{name}.{field}", holds=field in properties)
        if name in REQUESTS:
            self.walk_required(name, set(required), set(properties))
        elif required:
            read = codec.structure(RESPONSES[name], {})
            self.expect(f"{name} is read without what it requires", holds=read.extra == {})

    def walk_names(self, name: str, properties: Contract) -> None:
        kind = RESPONSES.get(name) or REQUESTS[name]
        surplus = names_of(kind).keys() - properties.keys() - LACKING.get(name, set())
        for field in sorted(surplus):
            self.gaps.append(f"{name}: {kind.__name__} has {field}, the contract has not")

    def walk_error(self, name: str, properties: dict[str, Contract]) -> None:
        for field in sorted(ERRORS[name].keys() - properties.keys()):
            self.gaps.append(f"{name}: {field} is gone")
        for field, facts in properties.items():
            where = f"{name}.{field}"
            self.fact("field", where, holds=field in ERRORS[name])
            _, declared = ERRORS[name].get(field, ("", ""))
            self.fact("type", where, holds=facts.get("type") == declared)
            self.expect(f"{where} has new keywords", holds=facts.keys() <= KEYWORDS)
            if "format" in facts:
                self.fact("format", where, holds=(facts["type"], facts["format"]) in FORMATS)
            if "items" in facts:
                self.fact("type", f"{where}[]", holds=facts["items"] == {"type": "string"})
            for value in facts.get("enum", ()):
                # An HTTP status in words; the number of the answer itself is what counts.
                self.fact("enum", f"{where} {value}", holds=bool(re.match(r"\d{3} [A-Z]", value)))

    def walk_field(self, name: str, field: str, facts: Contract) -> None:
        where = f"{name}.{field}"
        kind = RESPONSES.get(name) or REQUESTS[name]
        attribute = names_of(kind).get(field)
        self.fact("field", where, holds=attribute is not None)
        self.expect(f"{where} has new keywords", holds=facts.keys() <= KEYWORDS)
        if attribute is None:
            return
        annotation = HINTS[kind][attribute]
        self.fact("type", where, holds=self.fits(field, facts, annotation))
        if "format" in facts:
            self.fact("format", where, holds=(facts.get("type"), facts["format"]) in FORMATS)
        if "default" in facts:
            absent = attrs.fields_dict(kind)[attribute].default is None
            self.fact("default", where, holds=absent and facts["default"] is False)
        if "uniqueItems" in facts:
            self.fact("limit", f"{where} uniqueItems", holds=get_origin(annotation) is tuple)
        if name in REQUESTS:
            self.walk_sent(name, field, attribute, facts)
        else:
            self.walk_read(name, field, attribute, facts)
        for value in facts.get("enum", ()):
            self.walk_enum_value(name, attribute, annotation, value)
        if "enum" in facts:
            declared = {enum_name(value) for value in facts["enum"]}
            for member in sorted(enum_of(annotation).__members__.keys() - declared):
                self.gaps.append(f"enum {where}: the contract has no {member}")

    def fits(self, field: str, facts: Contract, annotation: Any) -> bool:
        """Tell whether values of the contract's type are read (or written) unchanged."""
        if annotation is Any:
            return field in ANYTHING and facts in ({"type": "string"}, ANY_JSON_REFERENCE)
        if facts.get("type") == "array":
            items, *_ = get_args(annotation)
            return get_origin(annotation) is tuple and self.fits(field, facts["items"], items)
        union = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
        options = set(union) - {type(None)}
        if "$ref" in facts:
            name = referenced(facts)
            return options == {RESPONSES.get(name) or REQUESTS.get(name)}
        enums = {kind for kind in options if get_origin(kind) is None and issubclass(kind, StrEnum)}
        scalars = {
            ("string", "date-time"): options == {datetime},
            ("string", None): str in options and options - {str} <= enums | {int},
            ("number", None): options == {Decimal},
            ("integer", "int32"): int in options and options <= {int, str},
            ("boolean", None): options == {bool},
        }
        if "enum" in facts:
            return len(enums) == 1 and options <= enums | {str}
        return scalars.get((str(facts.get("type")), facts.get("format")), False)

    def walk_enum_value(self, name: str, attribute: str, annotation: Any, value: str) -> None:
        where = f"{name}.{attribute} {value}"
        member = enum_of(annotation).__members__.get(enum_name(value))
        if name in RESPONSES:
            read = codec.structure(RESPONSES[name], {codec.wire_name(attribute): value})
            self.fact(
                "enum", where, holds=member is not None and read_of(read, attribute) is member
            )
        elif enum_name(value) in REFUSED:
            self.fact("enum", where, holds=not self.accepts(name, attribute, value))
        else:
            self.fact("enum", where, holds=self.accepts(name, attribute, value))

    # Answers -------------------------------------------------------------------------------------

    def sample(self, facts: Contract) -> Any:
        """A value as the contract declares it."""
        if "$ref" in facts:
            target = self.schemas.get(referenced(facts), {})
            return self.sample_object(target)
        if "enum" in facts:
            return facts["enum"][0]
        if facts["type"] == "array":
            return [self.sample(facts["items"])]
        samples: dict[tuple[str, str | None], Any] = {
            ("string", "date-time"): NOW_ON_THE_WIRE,
            ("string", None): "text",
            ("number", None): Decimal("12.50"),
            ("integer", "int32"): 2**31 - 1,
            ("boolean", None): True,
        }
        return samples.get((facts["type"], facts.get("format")))

    def sample_object(self, schema: Contract) -> dict[str, Any]:
        return {field: self.sample(facts) for field, facts in schema.get("properties", {}).items()}

    def walk_read(self, name: str, field: str, attribute: str, facts: Contract) -> None:
        where = f"{name}.{field}"
        sample = self.sample(facts)
        read = codec.structure(RESPONSES[name], {field: sample})
        value = read_of(read, attribute)
        self.expect(f"{where} is not read", holds=value not in (None, ()) and not read.extra)
        # What comes beyond a limit is read as well: the money has moved by then.
        for limit in sorted(facts.keys() & {"maxLength", "minLength", "minimum", "pattern"}):
            beyond = "x" * (facts.get("maxLength", 0) + 1) if facts["type"] == "string" else -1
            value = read_of(codec.structure(RESPONSES[name], {field: beyond}), attribute)
            self.fact("limit", f"{where} {limit}", holds=value == beyond)
        if "exclusiveMinimum" in facts:
            at_minimum = codec.structure(RESPONSES[name], {field: facts["minimum"]})
            holds = read_of(at_minimum, attribute) == facts["minimum"]
            self.fact("limit", f"{where} exclusiveMinimum", holds=holds)

    # Requests ------------------------------------------------------------------------------------

    def build(self, name: str, /, **given: Any) -> Any:
        """A valid request of a schema, but for what is given."""
        values = MINIMAL[name] | given
        if name != "LineItemRequest":
            return REQUESTS[name](**values)
        # A line item is checked with the request that it is part of.
        link = self.build("PayByLinkRequest", order_line_items=[models.LineItem(**values)])
        return link.order_line_items[0]

    def accepts(self, name: str, attribute: str, value: Any) -> bool:
        try:
            self.build(name, **{attribute: value})
        except errors.RequestValidationError as error:
            faulty = {fault.field.rpartition(".")[2] for fault in error.faults}
            self.expect(f"{name}.{attribute}: faults at {faulty}", holds=faulty == {attribute})
            return False
        return True

    def sent(self, name: str, /, **given: Any) -> dict[str, Any]:
        """The JSON object of a request."""
        written = decode_object(codec.encode(self.build(name, **given)))
        return written or {}

    def walk_required(self, name: str, required: set[str], properties: set[str]) -> None:
        attributes = names_of(REQUESTS[name])
        minimal = {attributes[field] for field in required if field in attributes}
        self.expect(f"required {name}", holds=minimal == set(MINIMAL[name]))
        self.expect(f"{name} sends {required}", holds=self.sent(name).keys() == required)
        fields = attrs.fields_dict(REQUESTS[name])
        for field in sorted(properties & attributes.keys()):
            mandatory = fields[attributes[field]].default is attrs.NOTHING or field in DEFAULTED
            self.expect(f"required {name}.{field}", holds=mandatory == (field in required))

    def walk_sent(self, name: str, field: str, attribute: str, facts: Contract) -> None:
        where = f"{name}.{field}"
        as_json: dict[str, Any] = {
            "string": str, "number": (int, Decimal), "integer": int, "boolean": bool,
            "array": list,
        }  # fmt: skip
        try:
            written = self.sent(name, **{attribute: self.given(name, attribute, facts)})
        except (errors.RequestValidationError, TypeError):
            self.gaps.append(f"{where} is refused")
            return
        value = written.get(field)
        kind = as_json.get(facts.get("type", ""), dict)
        self.expect(f"{where} is not sent", holds=isinstance(value, kind))
        self.expect(f"{where} is unknown", holds=written.keys() <= set(self.fields_of(name)))
        if facts.get("format") == "date-time":
            self.expect(f"{where} is no timestamp", holds=value == NOW_ON_THE_WIRE)
        if facts.get("format") == "int32":
            self.expect(f"{where} int32", holds=self.accepts(name, attribute, 2**31 - 1))
            self.expect(f"{where} int32", holds=not self.accepts(name, attribute, 2**31))
        for limit in ("minLength", "maxLength", "minimum", "exclusiveMinimum", "pattern"):
            if limit in facts:
                holds = getattr(self, f"holds_{limit}")(name, attribute, facts)
                self.fact("limit", f"{where} {limit}", holds=holds)

    def fields_of(self, name: str) -> dict[str, Contract]:
        fields: dict[str, Contract] = self.schemas[name]["properties"]
        return fields

    def given(self, name: str, attribute: str, facts: Contract) -> Any:
        """A value as the caller would give it."""
        if attribute in MINIMAL[name]:
            return MINIMAL[name][attribute]
        if facts.get("type") == "array":
            return [models.LineItem(**MINIMAL["LineItemRequest"])]
        if facts.get("$ref"):
            return {"basket": [1, 2.5, None]}
        return self.sample(facts)

    def holds_minLength(self, name: str, attribute: str, facts: Contract) -> bool:  # noqa: N802
        shortest = facts["minLength"]
        refused = shortest == 0 or not self.accepts(name, attribute, "x" * (shortest - 1))
        if codec.wire_name(attribute) in NEVER_EMPTY:
            return shortest == 0 and not self.accepts(name, attribute, "")
        return refused and self.accepts(name, attribute, "x" * shortest)

    def holds_maxLength(self, name: str, attribute: str, facts: Contract) -> bool:  # noqa: N802
        longest = facts["maxLength"]
        return self.accepts(name, attribute, "é" * longest) and not self.accepts(
            name, attribute, "x" * (longest + 1)
        )

    def holds_minimum(self, name: str, attribute: str, facts: Contract) -> bool:
        step = 1 if facts["type"] == "integer" else Decimal("0.01")
        smallest = facts["minimum"] + (step if facts.get("exclusiveMinimum") else 0)
        return self.accepts(name, attribute, smallest) and not self.accepts(
            name, attribute, smallest - step
        )

    def holds_exclusiveMinimum(self, name: str, attribute: str, facts: Contract) -> bool:  # noqa: N802
        at_minimum = self.accepts(name, attribute, facts["minimum"])
        return at_minimum is not facts["exclusiveMinimum"]

    def holds_pattern(self, name: str, attribute: str, facts: Contract) -> bool:
        texts = (
            "ZAR",
            "zar",
            "Zar",
            "",
            "Z",
            "ZA",
            "ZARR",
            "Z4R",
            "Z R",
            "ÉAR",
            "\u0131ar",
            " ZAR",
        )
        matching = [text for text in texts if re.fullmatch(facts["pattern"], text)]
        accepted = [text for text in texts if self.accepts(name, attribute, text)]
        return accepted == matching and bool(matching)

    # Operations ----------------------------------------------------------------------------------

    def walk_operations(self) -> None:
        by_id = {operation.contract_id: operation for operation in OPERATIONS}
        seen = set()
        for path, methods in self.contract["paths"].items():
            attribute_path = re.sub(r"\{(\w+)\}", lambda match: "{" + snake(match[1]) + "}", path)
            known = {operation.path for operation in OPERATIONS}
            self.fact("path", path, holds=attribute_path in known)
            for method, facts in methods.items():
                operation = by_id.get(facts["operationId"])
                here = operation is not None and (operation.method, operation.path) == (
                    method.upper(),
                    attribute_path,
                )
                self.fact("method", f"{method} {path}", holds=here)
                if operation is not None:
                    seen.add(operation.contract_id)
                    self.walk_operation(operation, facts)
        for missing in sorted(by_id.keys() - seen):
            self.gaps.append(f"operation {missing} is gone")

    def walk_operation(self, operation: Operation[Any, Any], facts: Contract) -> None:
        where = operation.contract_id
        known = {"operationId", "parameters", "requestBody", "responses"}
        self.expect(f"{where} has new keywords", holds=facts.keys() <= known)
        parameters = facts.get("parameters", [])
        for parameter in parameters:
            self.walk_parameter(operation, parameter)
        self.walk_target(operation, parameters)
        self.expect(f"body of {where}", holds=operation.has_body is ("requestBody" in facts))
        if "requestBody" in facts:
            schema = facts["requestBody"]["content"]["application/json"]["schema"]
            sent = REQUESTS.get(referenced(schema)) is operation.request
            self.fact("body", where, holds=sent and facts["requestBody"]["required"])
        for status, answer in facts["responses"].items():
            schema = answer["content"]["*/*"]["schema"]
            holds = self.reads_answer(operation, int(status), schema)
            self.fact("status", f"{where} {status}", holds=holds)

    def walk_parameter(self, operation: Operation[Any, Any], parameter: Contract) -> None:
        where = f"{operation.contract_id} {parameter['in']} {parameter['name']}"
        attribute = names_of(operation.request).get(parameter["name"])
        if attribute is None:
            self.fact("parameter", where, holds=False)
            return
        optional = attrs.fields_dict(operation.request)[attribute].default is None
        placed = {
            "path": "{" + attribute + "}" in operation.path,
            "query": attribute in operation.query,
        }
        annotation = HINTS[operation.request][attribute]
        fits = self.fits(parameter["name"], parameter["schema"], annotation)
        known = parameter.keys() <= {"name", "in", "required", "schema"}
        required = optional is not parameter["required"]
        holds = placed.get(parameter["in"], False) and fits and known and required
        self.fact("parameter", where, holds=holds)

    def walk_target(self, operation: Operation[Any, Any], parameters: list[Contract]) -> None:
        """All the parameters travel, each in its place, and nothing else does."""
        where = f"target of {operation.contract_id}"
        in_path = [one["name"] for one in parameters if one["in"] == "path"]
        in_query = {one["name"] for one in parameters if one["in"] == "query"}
        sent = prepare(operation, request_for(operation))
        path, _, query = sent.target.partition("?")
        pattern = re.sub(r"\{\w+\}", "8a1f", operation.path)
        self.expect(where, holds=path == pattern and len(in_path) == operation.path.count("{"))
        self.expect(where, holds=parse_qs(query).keys() == in_query)
        if sent.body is None:
            said = names_of(operation.request).keys() - NEVER_SENT
            self.expect(f"{where} is said otherwise", holds=said == in_query.union(in_path))

    def reads_answer(self, operation: Operation[Any, Any], status: int, schema: Contract) -> bool:
        name = referenced(schema) if "$ref" in schema else ""
        data = self.sample_object(self.schemas.get(name, {}))
        if status in {200, 201}:
            data |= ABOUT_THE_REQUEST.get(operation.contract_id, {})
        elif name == "UnauthorizedErrorResponse":
            data["status"] = status
        body = json.dumps(data, default=float).encode()
        answer = read_response(operation, request_for(operation), WireResponse(status, {}, body))
        if status in {200, 201}:
            kind = RESPONSES.get(name)
            result = answer.result
            read = isinstance(result, operation.result) and not getattr(result, "extra", None)
            return kind is operation.result and answer.proof is Proof.APPLIED and read
        error = answer.error
        if answer.proof is not refusal_proof(name) or not isinstance(error, errors.ApiError):
            return False
        expected = ERROR_CLASSES.get(status)
        if isinstance(error, errors.ReceiptNotSentError):
            # The contract declares the success schema for this one.
            read = error.receipt == codec.structure(models.Receipt, data)
            return expected is errors.BadRequestError and name == "PaymentReceiptResponse" and read
        # It does so for the integration's 401 and 404 too; those are errors and nothing else.
        declared = name in ERRORS or schema == {"type": "object"} or operation.method == "PUT"
        return type(error) is expected and declared and self.error_carries(name, data, error)

    def error_carries(self, name: str, data: dict[str, Any], error: errors.ApiError) -> bool:
        for field, (attribute, _) in ERRORS.get(name, {}).items():
            value = getattr(error, attribute)
            sample = data.get(field)
            if attribute == "body":
                carried = sample is not None and json.dumps(sample).encode() in value
            elif attribute == "status_code":
                carried = sample is not None
            else:
                carried = value == (tuple(sample) if isinstance(sample, list) else sample)
            if not carried:
                return False
        return True


def refusal_proof(name: str) -> Proof:
    """Return what a refusal proves: only in the form of an error, it is a certain one."""
    if name == "PaymentReceiptResponse":
        return Proof.APPLIED
    return Proof.REJECTED if name in ERRORS else Proof.UNKNOWN


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()


def enum_of(annotation: Any) -> type[StrEnum]:
    union = get_args(annotation) or (annotation,)
    kinds = [kind for kind in union if isinstance(kind, type) and issubclass(kind, StrEnum)]
    return kinds[0] if kinds else StrEnum("Nothing", [])  # type: ignore[return-value]


def read_of(model: Any, attribute: str) -> Any:
    return getattr(model, attribute)


NEVER_SENT = {"currency"}
"""Attributes of a request without a body that only serve to check the others."""


def request_for(operation: Operation[Any, Any]) -> Any:
    """A request with every parameter of its operation."""
    for name, kind in REQUESTS.items():
        if kind is operation.request:
            return kind(**MINIMAL[name])
    samples = {"amount": "12.50", "currency": "ZAR", "payment_link_ref": "8a1f"}
    fields = [field.name for field in attrs.fields(operation.request)]
    return operation.request(**{field: samples.get(field, "1001") for field in fields})


def test_every_fact_of_the_contract_is_covered() -> None:
    walk = Walk(contract())
    assert walk.gaps == []
    assert walk.facts == {
        "body": 3,
        "default": 2,
        "enum": 141,
        "field": 137,
        "format": 26,
        "limit": 35,
        "method": 8,
        "parameter": 7,
        "path": 8,
        "required": 15,
        "schema": 22,
        "security": 1,
        "server": 1,
        "status": 27,
        "type": 139,
    }


# A walk can fail ---------------------------------------------------------------------------------


def schemas(changed: Contract) -> dict[str, Contract]:
    found: dict[str, Contract] = changed["components"]["schemas"]
    return found


def set_limit(schema: str, field: str, **limits: object) -> Mutation:
    return lambda changed: schemas(changed)[schema]["properties"][field].update(limits)


def add_field(schema: str, field: str) -> Mutation:
    return lambda changed: schemas(changed)[schema]["properties"].update(
        {field: {"type": "string"}}
    )


def operation_in(changed: Contract, method: str, path: str) -> Contract:
    found: Contract = changed["paths"][path][method]
    return found


NAMED_MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "an added field in an answer": (add_field("CurrencyResponse", "digits"), "digits"),
    "an added field in a request": (add_field("PayByLinkRequest", "locale"), "locale"),
    "an added field in an error": (add_field("BadRequestErrorResponse", "hint"), "hint"),
    "an added keyword": (set_limit("PayByLinkRequest", "from", maxItems=3), "new keywords"),
    "an added limit": (
        set_limit("PayByLinkRequest", "merchantDescriptor", maxLength=10),
        "merchantDescriptor maxLength",
    ),
    "another pattern": (
        set_limit("PayByLinkRequest", "currency", pattern="[A-Za-z]{4}"),
        "currency pattern",
    ),
    "an added path": (
        lambda changed: changed["paths"].update({"/api/v2/refund": {}}),
        "/api/v2/refund",
    ),
    "an added operation": (
        lambda changed: changed["paths"]["/api/v2/config"].update(
            {"post": {"operationId": "setConfig"}}
        ),
        "post /api/v2/config",
    ),
    "an added query parameter": (
        lambda changed: operation_in(changed, "post", "/api/v2/payment/{paymentLinkRef}/reverse")[
            "parameters"
        ].append({"name": "amount", "in": "query", "required": False, "schema": {}}),
        "reverseTransaction query amount",
    ),
    "an added status": (
        lambda changed: operation_in(changed, "get", "/api/v2/config")["responses"].update(
            {"409": {"content": {"*/*": {"schema": {"type": "object"}}}}}
        ),
        "getConfigSettings 409",
    ),
    "an added schema": (
        lambda changed: schemas(changed).update(
            {"Refund": {"type": "object", "properties": {"id": {"type": "string"}}}}
        ),
        "schema Refund",
    ),
    "an added required field": (
        lambda changed: schemas(changed)["PayByLinkRequest"]["required"].append("from"),
        "required PayByLinkRequest.from",
    ),
    "another server": (
        lambda changed: changed["servers"].append({"url": "https://eu.example"}),
        "server",
    ),
    "another header for the key": (
        lambda changed: changed["components"]["securitySchemes"]["c2p"].update(name="X-Key"),
        "security",
    ),
    "a success schema for an error": (
        lambda changed: operation_in(changed, "post", "/api/v2/chat-2-pay")["responses"].update(
            {"400": operation_in(changed, "post", "/api/v2/chat-2-pay")["responses"]["201"]}
        ),
        "createPayByLinkTransactionLog 400",
    ),
    "an answer of another schema": (
        lambda changed: operation_in(changed, "get", "/api/v2/config")["responses"].update(
            {"200": operation_in(changed, "put", "/api/v2/integration")["responses"]["200"]}
        ),
        "getConfigSettings 200",
    ),
}


@pytest.mark.parametrize(("mutate", "gap"), NAMED_MUTATIONS.values(), ids=NAMED_MUTATIONS)
def test_a_walk_names_the_gap_that_a_change_tears(mutate: Mutation, gap: str) -> None:
    changed = contract()
    mutate(changed)
    assert any(gap in found for found in Walk(changed).gaps)


def field_mutations(changed: Contract) -> Iterator[tuple[str, Contract]]:
    """The contract with one field changed at a time; the change is undone after each."""
    for name, schema in schemas(changed).items():
        fields = schema.get("properties", {})
        for field in list(fields):
            where = f"{name}.{field}"
            original = copy.deepcopy(fields)
            del fields[field]
            yield f"{where} removed", changed
            fields.clear()
            fields.update(copy.deepcopy(original))
            other = "boolean" if fields[field].get("type") != "boolean" else "number"
            fields[field] = {"type": other}
            yield f"{where} of another type", changed
            fields.clear()
            fields.update(copy.deepcopy(original))


def limit_mutations(changed: Contract) -> Iterator[tuple[str, Contract]]:
    """The contract with one limit of a request or one enum moved at a time."""
    for name, schema in schemas(changed).items():
        for field, facts in schema.get("properties", {}).items():
            where = f"{name}.{field}"
            for limit in ("maxLength", "minLength", "minimum", "exclusiveMinimum"):
                if name not in REQUESTS or limit not in facts:
                    continue
                original = facts[limit]
                changes = [not original] if limit == "exclusiveMinimum" else [original + 1]
                changes += [original - 1] if limit == "maxLength" else []
                for value in changes:
                    facts[limit] = value
                    yield f"{where} {limit} {value}", changed
                facts[limit] = original
            if "enum" in facts and name not in ERRORS:
                original = facts["enum"]
                facts["enum"] = [*original, "BRAND_NEW"]
                yield f"{where} enum longer", changed
                facts["enum"] = original[:-1]
                yield f"{where} enum shorter", changed
                facts["enum"] = original


def operation_mutations(changed: Contract) -> Iterator[tuple[str, Contract]]:
    """The contract with one operation's parameter, status, method or path changed at a time."""
    for path in list(changed["paths"]):
        methods = changed["paths"].pop(path)
        yield f"{path} removed", changed
        changed["paths"][path + "s"] = methods
        yield f"{path} renamed", changed
        del changed["paths"][path + "s"]
        changed["paths"][path] = dict(zip(("patch",), methods.values(), strict=True))
        yield f"{path} patched", changed
        changed["paths"][path] = methods
        for facts in methods.values():
            parameters = facts.get("parameters", [])
            for index, parameter in enumerate(list(parameters)):
                parameters.remove(parameter)
                yield f"{path} {parameter['name']} removed", changed
                parameters.insert(index, parameter | {"required": not parameter["required"]})
                yield f"{path} {parameter['name']} required or not", changed
                parameters[index] = parameter | {"schema": {"type": "boolean"}}
                yield f"{path} {parameter['name']} of another type", changed
                parameters[index] = parameter
            for status in list(facts["responses"]):
                answer = facts["responses"].pop(status)
                facts["responses"]["418"] = answer
                yield f"{path} {status} is 418", changed
                del facts["responses"]["418"]
                facts["responses"][status] = answer


@pytest.mark.parametrize(
    ("mutations", "count"),
    [(field_mutations, 274), (limit_mutations, 48), (operation_mutations, 72)],
)
def test_no_single_change_of_the_contract_goes_unnoticed(
    mutations: Callable[[Contract], Iterator[tuple[str, Contract]]], count: int
) -> None:
    changed = contract()
    outcomes = [(what, bool(Walk(after).gaps)) for what, after in mutations(changed)]
    assert [what for what, noticed in outcomes if not noticed] == []
    assert len(outcomes) == count
    assert changed == contract()
