"""Fault plans: which faults, how often and where; plain frozen values."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, Literal, get_args

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._service.service import OPERATIONS

FaultKind = Literal[
    "drop_before",
    "drop_after",
    "reset_before",
    "reset_after",
    "silence_before",
    "silence_after",
    "answer_late",
    "apply_late",
    "throttle",
    "storm",
    "error_500_before",
    "error_500_after",
    "error_502_before",
    "error_502_after",
    "error_503_before",
    "error_503_after",
    "hollow_200_before",
    "hollow_200_after",
    "hollow_201_before",
    "hollow_201_after",
    "redirect_302_before",
    "redirect_302_after",
    "redirect_307_before",
    "redirect_307_after",
    "truncated",
    "html",
    "garbage",
    "drip",
    "not_found",
    "denied",
    "foreign",
    "lag",
]
"""The kinds of faults; `InjectedFault` explains each one."""

UnknownOrder = Literal["explicit", "empty", "null", "bad_request", "foreign_404", "html"]
Span = tuple[float, float]

FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
UNKNOWN_ORDERS: Final[tuple[UnknownOrder, ...]] = get_args(UnknownOrder)
POSTS: Final = (
    "create_payment_link",
    "cancel_payment_link",
    "capture_payment",
    "reverse_payment",
    "create_receipt",
)
"""The operations that take effect twice if they are sent twice."""

CUSTOMER: Final = "customer"
_LOOK_UP: Final = "get_transaction"
# Sums of rates like 0.1 are not exact.
_ALL: Final = 1 + 1e-9


class When(Enum):
    """Times at which the request itself is applied."""

    NEVER = auto()
    AT_ONCE = auto()
    LATER = auto()


@dataclass(frozen=True, slots=True)
class Trait:
    """The properties that all faults of a kind have in common.

    Attributes:
        when: The time at which the request is applied.
        status: The status of the response, where the kind has it in its name.
        forms: The forms it takes. Default of a fault: one of them, drawn each time.
        seconds: The shortest and the longest time it takes. Default of a fault.
        operations: The operations it can happen to.
    """

    when: When
    status: int = 0
    forms: tuple[str, ...] = ()
    seconds: Span = (0.0, 0.0)
    operations: tuple[str, ...] = tuple(OPERATIONS)


_THROTTLES: Final = ("seconds", "date", "bare")
_ERRORS: Final = ("json", "html", "json_retry_after", "html_retry_after")
_HOLLOWS: Final = ("object", "null", "empty", "html")


def _pair(
    before: FaultKind, after: FaultKind, status: int = 0, forms: tuple[str, ...] = ()
) -> Mapping[FaultKind, Trait]:
    return {before: Trait(When.NEVER, status, forms), after: Trait(When.AT_ONCE, status, forms)}


TRAITS: Final[Mapping[FaultKind, Trait]] = MappingProxyType(
    {
        **_pair("drop_before", "drop_after"),
        **_pair("reset_before", "reset_after"),
        **_pair("silence_before", "silence_after"),
        "answer_late": Trait(When.AT_ONCE, seconds=(0.5, 3.0)),
        "apply_late": Trait(
            When.LATER, forms=("reset", "drop", "502", "504", "silence"), seconds=(0.5, 3.0)
        ),
        "throttle": Trait(When.NEVER, forms=_THROTTLES),
        "storm": Trait(When.NEVER, forms=_THROTTLES, seconds=(1.0, 5.0)),
        **_pair("error_500_before", "error_500_after", 500, _ERRORS),
        **_pair("error_502_before", "error_502_after", 502, _ERRORS),
        **_pair("error_503_before", "error_503_after", 503, _ERRORS),
        **_pair("hollow_200_before", "hollow_200_after", 200, _HOLLOWS),
        **_pair("hollow_201_before", "hollow_201_after", 201, _HOLLOWS),
        **_pair("redirect_302_before", "redirect_302_after", 302),
        **_pair("redirect_307_before", "redirect_307_after", 307),
        "truncated": Trait(When.AT_ONCE),
        "html": Trait(When.AT_ONCE),
        "garbage": Trait(When.AT_ONCE),
        "drip": Trait(When.AT_ONCE, seconds=(0.5, 3.0)),
        "not_found": Trait(When.NEVER, forms=("html", "spring", "json")),
        "denied": Trait(When.NEVER, forms=("401", "403")),
        "foreign": Trait(When.NEVER, forms=("stamped", "bare"), operations=(_LOOK_UP,)),
        "lag": Trait(When.AT_ONCE, seconds=(0.5, 3.0), operations=(*POSTS, CUSTOMER)),
    }
)


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """One thing that goes wrong, for a share of the requests.

    | Kind | What the client meets | Forms |
    |---|---|---|
    | `drop_before`, `drop_after` | the connection is closed, no response | |
    | `reset_before`, `reset_after` | the connection is reset, no response | |
    | `silence_before`, `silence_after` | nothing, for five minutes; then it is closed | |
    | `answer_late` | the response `seconds` after the request was applied | |
    | `apply_late` | no response, or a wrong one; applied `seconds` after that | \
`reset` `drop` `502` `504` `silence` |
    | `throttle` | one 429 | `seconds` `date` `bare`: of its `Retry-After` |
    | `storm` | 429 for the next `requests`, but `seconds` at the longest | the same |
    | `error_500_before`, `error_500_after`, 502, 503 | that status | \
`json` `html` `json_retry_after` `html_retry_after` |
    | `hollow_200_before`, `hollow_200_after`, 201 | a success that proves nothing | \
`object` (`{}`) `null` `empty` `html` |
    | `redirect_302_before`, `redirect_302_after`, 307 | another path, which does the same | |
    | `truncated` | half the body, and the connection is closed | |
    | `html` | the right status, with a page | |
    | `garbage` | the right status, with random bytes | |
    | `drip` | the first bytes of the body one by one, over `seconds` | |
    | `not_found` | a gateway's 404, that says nothing about the order | `html` `spring` `json` |
    | `denied` | a glitch of the gateway | `401` `403` |
    | `foreign` | somebody else's transaction under the same order number | `stamped` `bare` |
    | `lag` | look-ups that show a change only `seconds` after it | |

    With a kind that ends in `_before`, and with `throttle`, `storm`, `not_found` and `denied`, the
    request is never applied; with the others it is, at once or late. A request has one fault at
    most; besides, each change that it makes may lag.

    Attributes:
        kind: The kind, one of `FAULT_KINDS`.
        rate: The share of requests, 0 to 1; for `lag` the share of changes.
        operations: The operations it happens to, such as `POSTS`. Default: all that it can happen
            to. The actions of the customer are one more, `customer`, which can only lag.
        form: The form it takes. Default: drawn each time.
        seconds: The shortest and the longest time it takes. Default: its kind's.
        requests: The fewest and the most requests that a storm hits.
        retry_after: The fewest and the most seconds that a `Retry-After` names.
    """

    kind: FaultKind
    rate: float = 1.0
    _: KW_ONLY
    operations: tuple[str, ...] = ()
    form: str | None = None
    seconds: Span | None = None
    requests: tuple[int, int] = (5, 20)
    retry_after: tuple[int, int] = (1, 2)

    def __post_init__(self) -> None:
        _check_one_of("kind of fault", self.kind, FAULT_KINDS)
        trait = TRAITS[self.kind]
        for operation in self.operations:
            _check_one_of(f"operation of {self.kind}", operation, trait.operations)
        if self.form is not None:
            _check_one_of(f"form of {self.kind}", self.form, trait.forms)
        if not 0 <= self.rate <= 1:
            raise SandboxError(f"rate must be from 0 to 1, not {self.rate}")
        for name, span in (
            ("seconds", self.span),
            ("requests", self.requests),
            ("retry_after", self.retry_after),
        ):
            if not 0 <= span[0] <= span[1] < float("inf"):
                raise SandboxError(f"{name} must be a smallest and a largest number, not {span}")

    @property
    def trait(self) -> Trait:
        """The properties of its kind."""
        return TRAITS[self.kind]

    @property
    def span(self) -> Span:
        """The shortest and the longest time that it takes."""
        return self.trait.seconds if self.seconds is None else self.seconds

    @property
    def where(self) -> tuple[str, ...]:
        """The operations to which it happens."""
        return self.operations or self.trait.operations


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults to inject, and the ways in which the service differs from the contract.

    Attributes:
        faults: The faults. At most one happens to a request, so the rates for an operation add up
            to at most 1; those of `lag` are added up separately.
        seed: Makes the faults repeatable for the same requests in the same order. Default: the
            sandbox's own seed.
        clock_offset: Seconds by which the service's clock is ahead, in `Date` and in every body.
        no_date_header: Leave `Date` out of the API's responses.
        echo_additional_data: Show `additionalData` in responses to status look-ups.
        unknown_order: The response to a look-up of what does not exist: `explicit` (a 404 that
            names it), `empty` (200 and `{}`), `null` (200), `bad_request` (400 that names it),
            `foreign_404` (one that does not name it), `html` (404 with a page).
    """

    faults: tuple[InjectedFault, ...] = ()
    _: KW_ONLY
    seed: int | None = None
    clock_offset: float = 0.0
    no_date_header: bool = False
    echo_additional_data: bool = True
    unknown_order: UnknownOrder = "explicit"

    def __post_init__(self) -> None:
        _check_one_of("response to an unknown order", self.unknown_order, UNKNOWN_ORDERS)
        for operation in (*OPERATIONS, CUSTOMER):
            for lags in (False, True):
                here = (f for f in self.faults if (f.kind == "lag") is lags)
                share = sum(fault.rate for fault in here if operation in fault.where)
                if share > _ALL:
                    raise SandboxError(f"The rates for {operation} add up to {share:g}: at most 1")


def _check_one_of(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise SandboxError(
            f"{name!r} is not a valid {what}; there are {', '.join(names) or 'none'}"
        )
