"""Fault plans: which faults, how often and where; plain frozen values."""

from collections.abc import Iterable, Iterator, Mapping
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
    "half_closed_before",
    "half_closed_after",
    "processing_before",
    "processing_after",
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
    "endless_drip",
    "gzip_bomb",
    "repeated",
    "unasked",
    "not_found",
    "denied",
    "intermediary_before",
    "intermediary_after",
    "misdirected_before",
    "misdirected_after",
    "wrong_type_before",
    "wrong_type_after",
    "wrong_amount_before",
    "wrong_amount_after",
    "wrong_link_before",
    "wrong_link_after",
    "refused_link",
    "foreign_decline",
    "foreign",
    "no_payments",
    "cached",
    "wrong_date",
    "lag",
]
"""The kinds of faults; `InjectedFault` explains each one."""

UnknownOrder = Literal["explicit", "empty", "null", "bad_request", "foreign_404", "html"]
Span = tuple[float, float]

FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
"""All of them."""
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
_CREATE, _CANCEL, _CAPTURE, _REVERSE, _ = POSTS
_GATEWAY: Final = (_CAPTURE, _REVERSE)
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
_INTERMEDIARIES: Final = (
    *("400_page", "401_page", "403_page", "404_page", "408_page", "413_page", "421_page"),
    *("409_json", "423_json", "424_json", "444_empty", "460_empty", "499_page"),
    *("400_message", "401_message", "403_message", "404_message"),
)


def _pair(
    before: FaultKind,
    after: FaultKind,
    status: int = 0,
    forms: tuple[str, ...] = (),
    operations: tuple[str, ...] = tuple(OPERATIONS),
) -> Mapping[FaultKind, Trait]:
    return {
        before: Trait(When.NEVER, status, forms, operations=operations),
        after: Trait(When.AT_ONCE, status, forms, operations=operations),
    }


TRAITS: Final[Mapping[FaultKind, Trait]] = {
    **_pair("drop_before", "drop_after"),
    **_pair("reset_before", "reset_after"),
    **_pair("silence_before", "silence_after"),
    **_pair("half_closed_before", "half_closed_after"),
    **_pair("processing_before", "processing_after"),
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
    "endless_drip": Trait(When.AT_ONCE),
    "gzip_bomb": Trait(When.AT_ONCE),
    "repeated": Trait(When.AT_ONCE, seconds=(0.001, 0.02)),
    "unasked": Trait(When.AT_ONCE, forms=("408", "200", "noise"), seconds=(0.001, 0.02)),
    "not_found": Trait(When.NEVER, 404, ("html", "spring", "json")),
    "denied": Trait(When.NEVER, forms=("401", "403")),
    **_pair("intermediary_before", "intermediary_after", forms=_INTERMEDIARIES),
    **_pair("misdirected_before", "misdirected_after", 200, ("transaction", "error")),
    **_pair("wrong_type_before", "wrong_type_after", 200, ("opposite", "sale"), _GATEWAY),
    **_pair("wrong_amount_before", "wrong_amount_after", 200, operations=(_CAPTURE,)),
    **_pair("wrong_link_before", "wrong_link_after", 200, ("link", "status"), (_CANCEL,)),
    "refused_link": Trait(When.AT_ONCE, 400, operations=(_CREATE,)),
    "foreign_decline": Trait(
        When.LATER, forms=("drop", "silence"), seconds=(0.5, 3.0), operations=_GATEWAY
    ),
    "foreign": Trait(When.NEVER, forms=("stamped", "bare"), operations=(_LOOK_UP,)),
    "no_payments": Trait(When.AT_ONCE, forms=("list", "null", "missing"), operations=(_LOOK_UP,)),
    "cached": Trait(When.NEVER, operations=(_LOOK_UP,)),
    "wrong_date": Trait(
        When.AT_ONCE, forms=("missing", "ahead", "behind", "garbage"), seconds=(60.0, 3600.0)
    ),
    "lag": Trait(When.AT_ONCE, seconds=(0.5, 3.0), operations=(*POSTS, CUSTOMER)),
}


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """One thing that goes wrong, for a share of the requests.

    | Kind | What the client meets | Forms |
    |---|---|---|
    | `drop_before`, `drop_after` | the connection is closed, no response | |
    | `reset_before`, `reset_after` | the connection is reset, no response | |
    | `silence_before`, `silence_after` | nothing, for five minutes; then it is closed | |
    | `half_closed_before`, `half_closed_after` | the server closes its half of the connection | |
    | `processing_before`, `processing_after` | a 102 each second, for five minutes | |
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
    | `endless_drip` | the body byte by byte, one each second | |
    | `gzip_bomb` | the right status, with a small body that decodes to 64 MiB | |
    | `repeated` | the response, and `seconds` later a copy of it | |
    | `unasked` | the response, and `seconds` later what nobody asked for | `408` `200` `noise` |
    | `not_found` | a gateway's 404, that says nothing about the order | `html` `spring` `json` |
    | `denied` | a glitch of the gateway | `401` `403` |
    | `intermediary_before`, `intermediary_after` | a 4xx of whoever stands between | its status \
and `page`, `json`, `empty` or `message`, such as `499_page` |
    | `misdirected_before`, `misdirected_after` | a 200 about something else | `transaction` \
`error` |
    | `wrong_type_before`, `wrong_type_after` | another step's success | `opposite` (a void for a \
capture) `sale` |
    | `wrong_amount_before`, `wrong_amount_after` | a capture of 999.00, where less was asked | |
    | `wrong_link_before`, `wrong_link_after` | a cancellation of another link, or none | `link` \
`status` |
    | `refused_link` | a 400 with the reference of the link, which exists | |
    | `foreign_decline` | another process's decline in the history, no response; applied `seconds` \
after that | `drop` `silence` |
    | `foreign` | somebody else's transaction under the same order number | `stamped` `bare` |
    | `no_payments` | a status without payment entries | `list` (empty) `null` `missing` |
    | `cached` | the response to an earlier look-up of the same, with its `Age` | |
    | `wrong_date` | a `Date` that is wrong by `seconds`, or none | `missing` `ahead` `behind` \
`garbage` |
    | `lag` | look-ups that show a change only `seconds` after it | |

    With a kind that ends in `_before`, and with `throttle`, `storm`, `not_found` and `denied`, the
    request is never applied; with the others it is, at once or late. A request has one fault at
    most; besides, each change that it makes may lag. Where there is nothing to go wrong, no earlier
    look-up to be cached or no amount to be wrong, nothing does.

    What comes after a response (`repeated`, `unasked`) comes before the response to the next
    request of the connection, be it sent sooner. In process there is no connection: nothing comes
    after a response, a half-closed connection is a closed one, and a 102 is silence.

    Attributes:
        kind: The kind, one of `FAULT_KINDS`.
        rate: The share of requests, 0 to 1; for `lag` the share of changes.
        operations: The operations it happens to, such as `POSTS`. Default: all that it can happen
            to. The actions of the customer are one more, `customer`, which can only lag.
        form: The form it takes. Default: drawn each time.
        seconds: The shortest and the longest time it takes. Default: its kind's.
        requests: The fewest and the most requests that a storm hits.
        retry_after: The fewest and the most seconds that a `Retry-After` names.

    Raises:
        SandboxError: There is no such kind or form, it can't happen to an operation, or a number is
            out of range.
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
        for operation in self.operations:
            _check_one_of(f"operation of {self.kind}", operation, self.trait.operations)
        if self.form is not None:
            _check_one_of(f"form of {self.kind}", self.form, self.trait.forms)
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
        length_required: Answer 411 to a POST or PUT without `Content-Length`, as some front ends
            do.

    Raises:
        SandboxError: The rates for an operation add up to more than 1, or there is no such
            `unknown_order`.
    """

    faults: tuple[InjectedFault, ...] = ()
    _: KW_ONLY
    seed: int | None = None
    clock_offset: float = 0.0
    no_date_header: bool = False
    echo_additional_data: bool = True
    unknown_order: UnknownOrder = "explicit"
    length_required: bool = False

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


# Plans with a name --------------------------------------------------------------------------------

# The others get no equal share: one storm is many faults, and one lag is a fault of a change.
_ALL_EVENLY: Final[tuple[FaultKind, ...]] = tuple(
    kind for kind in FAULT_KINDS if kind not in {"foreign", "lag", "storm"}
)


def _evenly(rate: float, *kinds: FaultKind) -> Iterator[InjectedFault]:
    return (InjectedFault(kind, rate / len(kinds)) for kind in kinds)


def _everything(rate: float) -> tuple[InjectedFault, ...]:
    return (
        *_evenly(rate, *_ALL_EVENLY),
        InjectedFault("storm", rate / 100),
        InjectedFault("foreign", rate / 100),
        InjectedFault("lag", rate),
    )


PRESETS: Final[Mapping[str, FaultPlan]] = MappingProxyType(
    {
        "mild": FaultPlan(_everything(0.03)),
        "harsh": FaultPlan(_everything(0.3)),
        "lossy": FaultPlan(
            tuple(_evenly(0.2, "drop_before", "drop_after", "reset_before", "reset_after"))
        ),
    }
)
"""A few faults of every kind, many of every kind, and many connections that break off.

In none of them it takes more than 6 seconds until a request is applied and shown.
"""
