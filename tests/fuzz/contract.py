"""The published contract, tried on the sandbox by schemathesis: `nox -s contract`.

Valid and invalid requests are made of the contract, and of the sandbox's own document; what the
sandbox answers is judged by them. Where the contract and the service are known to differ, the
sandbox does as the service does: each such difference is explained in `EXPLAINED`. A
failure that no line explains fails the session, and so does a line that explains none.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from chat2pay_async.sandbox import Sandbox, serve_sandbox

CONTRACT = Path(__file__).parents[1] / "data" / "chat2pay-v2.openapi.json"
EVERY = re.compile("")


@attrs.frozen
class Explained:
    """A kind of failure that has a reason."""

    kind: str
    """The name of schemathesis's failure."""
    text: re.Pattern[str]
    """Is found in its message, or in the answer."""
    reason: str
    where: re.Pattern[str] = EVERY
    """Is found in the operation."""


EXPLAINED = (
    Explained(
        "JsonSchemaError",
        re.compile(r'\+0000" is not a "date-time"'),
        "the service writes times in Jackson's form, without a colon (seen in a public test suite)",
    ),
    Explained(
        "JsonSchemaError",
        re.compile(r'"NOT_FOUND" is not one of'),
        "the service writes NOT_FOUND, where the contract has 404 NOT_FOUND (seen likewise)",
    ),
    Explained(
        "UndefinedStatusCode",
        re.compile(r"One of orderNumber, paymentLinkRef, receiptLinkRef is required"),
        "the contract gives a look-up no 400, though one without any name can't be answered",
        re.compile("transaction-status"),
    ),
    Explained(
        "UndefinedStatusCode",
        re.compile(r'"NOT_FOUND"'),
        "the contract gives a look-up no 404; the service has nothing else to say",
        re.compile("transaction-status"),
    ),
    Explained(
        "UndefinedStatusCode",
        re.compile(r"Request failed"),
        "the contract gives an update no 400, though it says what a request must have",
        re.compile("integration"),
    ),
    Explained(
        "RejectedPositiveData",
        re.compile(r"must not be blank|is required"),
        "the contract allows empty texts, which name nobody and nothing",
    ),
    Explained(
        "RejectedPositiveData",
        re.compile(r"channel must be one of|transactionType must be one of"),
        "the contract's names are a leak of Java's; the service takes sms and sale (seen likewise)",
        re.compile("chat-2-pay"),
    ),
    Explained(
        "RejectedPositiveData",
        re.compile(r"currency [A-Z]{3} is not supported|Total amount is not equal to the sum"),
        "no document can say which currencies an account has, or that amounts add up",
        re.compile("chat-2-pay"),
    ),
    Explained(
        "RejectedPositiveData",
        re.compile(r"must be a number|Capture amount"),
        "an amount has at most 40 digits, so that sums are exact",
        re.compile("capture"),
    ),
)


def failures_of(group: BaseException) -> Iterator[Any]:
    """Yield the single failures of a group."""
    for inner in getattr(group, "exceptions", ()):
        yield from failures_of(inner) if getattr(inner, "exceptions", None) else (inner,)


def explanation(operation: str, failure: Any, answer: str) -> Explained | None:
    """Return the line that explains a failure."""
    kind, text = type(failure).__name__, f"{failure}\n{getattr(failure, 'message', '')}\n{answer}"
    for one in EXPLAINED:
        if one.kind == kind and one.text.search(text) and one.where.search(operation):
            return one
    return None


def try_operation(operation: Any, sandbox: Sandbox, examples: int, found: Counter[Any]) -> None:
    """Make requests of one operation, and count what is wrong with the answers."""
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @settings(
            max_examples=examples,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def once(case: Any) -> None:
            found["requests"] += 1
            headers = {"Authorization": sandbox.api_key}
            response = case.call(base_url=sandbox.url, headers=headers)
            try:
                case.validate_response(response, headers=headers)
            except BaseExceptionGroup as group:
                for failure in failures_of(group):
                    reason = explanation(operation.label, failure, response.text)
                    what = f"{operation.label}: {type(failure).__name__}: {response.text[:300]}"
                    found[reason or what] += 1

        try:
            once()
        except schemathesis.errors.Unsatisfiable:
            found[f"no {mode.value} requests of {operation.label}"] = 0


def main() -> int:
    """Try every operation; say what is wrong, and what explains it."""
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    found: Counter[Any] = Counter()
    with serve_sandbox() as sandbox:
        schemas: Any = (
            schemathesis.openapi.from_path(CONTRACT),
            schemathesis.openapi.from_url(f"{sandbox.url}/openapi.json"),
        )
        for operation in (one.ok() for schema in schemas for one in schema.get_all_operations()):
            if operation.path.startswith("/api/"):
                try_operation(operation, sandbox, examples, found)
    unexplained = {text: count for text, count in found.items() if isinstance(text, str)}
    requests = unexplained.pop("requests")
    print(f"{requests:,} requests")
    for one in EXPLAINED:
        print(f"{found[one]:7,} {one.kind}: {one.reason}")
    for text, count in unexplained.items():
        print(f"{count:7,} UNEXPLAINED {text}")
    idle = [one.reason for one in EXPLAINED if not found[one]]
    print(*(f"explains nothing: {reason}" for reason in idle), sep="\n")
    return int(bool(unexplained or idle))


if __name__ == "__main__":
    sys.exit(main())
