"""Calls on behalf of another, as they are told apart by what they find."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from scripted import INTEGRATION, LINK, options

from chat2pay_async import (
    BadRequestError,
    Chat2PayError,
    Configuration,
    ConnectionFailedError,
    IntegrationStatus,
    IntegrationUpdate,
    Integrator,
    NotFoundError,
    OutcomeUnknownError,
    PaymentStatus,
    Proof,
    RawResponse,
    Transaction,
    TransactionStatus,
    TransactionStatusEntry,
)
from chat2pay_async._api.operations import CREATE_PAYMENT_LINK, UPDATE_INTEGRATION, Operation
from chat2pay_async._api.requests import ConfigurationQuery, LinkReference, TransactionQuery
from chat2pay_async._api.responses import Answer
from chat2pay_async._send.call import Call, Step
from chat2pay_async._send.follow_up import cancelled, read_back
from chat2pay_async._transport.base import WireResponse

pytestmark = pytest.mark.anyio

REFUSED = BadRequestError("the link was clicked", status_code=400)
GONE = NotFoundError("no such link", status_code=404)
BROKEN = ConnectionFailedError("no answer")
CUT: Any = OutcomeUnknownError("no answer", pending=object())  # type: ignore[arg-type]  # unread


@attrs.define
class Caller:
    """Makes calls by giving back what it is told to, in turn; errors are raised."""

    ends: list[object]
    made: list[Call[Any, Any]] = attrs.field(factory=list)

    async def __call__(self, call: Call[Any, Any], /) -> RawResponse[Any]:
        self.made.append(call)
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return RawResponse(end, 200, {"x": "y"}, b"{}", (), 0.0)

    @property
    def story(self) -> list[tuple[str, object]]:
        return [(call.operation.name, call.request) for call in self.made]


class Log:
    """A call's log; those of calls on its behalf stand beside it."""

    def __init__(self, beside: Log | None = None) -> None:
        self.beside = beside

    def aside(self) -> Log:
        return Log(beside=self)


def call(operation: Operation[Any, Any], request: Any, **fields: Any) -> Call[Any, Any]:
    return Call(operation, request, options(total=9.0), 0.0, listening=True, **fields)


def link(*names: TransactionStatus, **fields: Any) -> Transaction:
    entries = (TransactionStatusEntry(transaction_status_name=name) for name in names)
    return Transaction(transaction_statuses=tuple(entries), **fields)


# A link that is to be gone ------------------------------------------------------------------------


async def test_a_link_is_cancelled_within_the_options_of_the_call_that_it_is_for() -> None:
    log: Any = Log()
    run, this = Caller([None]), call(CREATE_PAYMENT_LINK, LINK, log=log)
    assert await cancelled(run, this, "ref-1")
    assert run.story == [("cancel_payment_link", LinkReference(payment_link_ref="ref-1"))]
    (made,) = run.made
    assert (made.options, made.call_id) == (this.options, this.call_id)
    assert made.listening
    beside: Any = made.log
    assert beside.beside is log


async def test_without_a_journal_a_call_on_behalf_of_another_has_none_either() -> None:
    run = Caller([None])
    assert await cancelled(run, call(CREATE_PAYMENT_LINK, LINK), "ref-1")
    assert run.made[0].log is None


CLICKED = TransactionStatus.PAYMENT_LINK_CLICKED
EXPIRED = TransactionStatus.PAYMENT_URL_EXPIRED


@pytest.mark.parametrize(
    ("found", "is_gone"),
    [
        (link(TransactionStatus.PAYMENT_LINK_CANCELLED), True),
        (link(EXPIRED), True),
        (link(CLICKED, EXPIRED), False),
        (link(EXPIRED, payment_status=PaymentStatus.SUCCESS), False),
        (link(CLICKED), False),
        (link(), False),
        (BROKEN, False),
    ],
)
async def test_a_link_that_can_not_be_cancelled_is_gone_if_it_ended_and_nobody_opened_it(
    found: object, *, is_gone: bool
) -> None:
    run = Caller([REFUSED, found])
    assert await cancelled(run, call(CREATE_PAYMENT_LINK, LINK), "ref-1") is is_gone
    query = ("get_transaction", TransactionQuery(payment_link_ref="ref-1"))
    assert run.story[1:] == [query]


async def test_a_link_that_can_not_be_cancelled_for_another_reason_is_taken_for_alive() -> None:
    assert not await cancelled(Caller([GONE]), call(CREATE_PAYMENT_LINK, LINK), "ref-1")


async def test_a_cancellation_whose_answer_was_lost_leaves_it_open_whether_the_link_is_gone() -> (
    None
):
    with pytest.raises(OutcomeUnknownError):
        await cancelled(Caller([CUT]), call(CREATE_PAYMENT_LINK, LINK), "ref-1")


async def test_a_link_that_an_earlier_process_may_have_cancelled_is_never_taken_for_alive() -> None:
    this = call(CREATE_PAYMENT_LINK, LINK, earlier=1)
    with pytest.raises(NotFoundError):
        await cancelled(Caller([GONE]), this, "ref-1")


# An update that is read back ----------------------------------------------------------------------


LOST: Step[Any] = Step(Answer(Proof.UNKNOWN, error=BROKEN), None)
ACTIVE = Integrator(application_id="u-1", status=IntegrationStatus.ACTIVATED)
IDLE = Integrator(application_id="u-1", status=IntegrationStatus.DEACTIVATED)
ANOTHER = Integrator(application_id="u-2", status=IntegrationStatus.ACTIVATED)
DELETION = attrs.evolve(INTEGRATION, status=IntegrationStatus.DELETED)


@pytest.mark.parametrize("proof", [Proof.UNKNOWN, Proof.REJECTED])
@pytest.mark.parametrize(
    ("request_", "integrators"), [(INTEGRATION, (ANOTHER, ACTIVE)), (DELETION, (ANOTHER,))]
)
async def test_an_update_that_the_configuration_shows_took_place(
    proof: Proof, request_: Any, integrators: tuple[Integrator, ...]
) -> None:
    run = Caller([Configuration(integrators=integrators)])
    step: Step[Any] = Step(Answer(proof, error=REFUSED), None)
    back = await read_back(run, call(UPDATE_INTEGRATION, request_), step)
    assert run.story == [("get_configuration", ConfigurationQuery())]
    assert back.answer == Answer(Proof.APPLIED, IntegrationUpdate(recovered=True))
    assert back.response == WireResponse(200, {"x": "y"}, b"{}")
    assert back.settled


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (INTEGRATION, Configuration(integrators=(IDLE, ANOTHER))),
        (INTEGRATION, Configuration(integrators=(ANOTHER,))),
        (DELETION, Configuration(integrators=(ACTIVE,))),
        (DELETION, Configuration(integrators=(ANOTHER, Integrator(status=ACTIVE.status)))),
        (DELETION, Configuration(extra={"integrators": "…"})),
        (INTEGRATION, BROKEN),
    ],
)
async def test_an_update_that_the_configuration_does_not_show_stays_what_it_was(
    request_: Any, found: object
) -> None:
    assert await read_back(Caller([found]), call(UPDATE_INTEGRATION, request_), LOST) is LOST


@pytest.mark.parametrize(
    "answer",
    [
        Answer(Proof.APPLIED, IntegrationUpdate()),
        Answer(Proof.NOT_SENT, error=BROKEN),
        Answer(Proof.THROTTLED, error=Chat2PayError("slower")),
    ],
)
async def test_what_certainly_did_or_did_not_take_place_is_not_read_back(
    answer: Answer[IntegrationUpdate],
) -> None:
    run, step = Caller([]), Step(answer, None)
    assert await read_back(run, call(UPDATE_INTEGRATION, INTEGRATION), step) is step
    assert not run.made
