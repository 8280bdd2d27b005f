"""Summaries, forecasts, and the guard that stops a run."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest

from chat2pay_async import (
    Channel,
    GatewayResult,
    PaymentLink,
    PaymentLinkRequest,
    RunStoppedError,
    TransactionStatus,
)
from chat2pay_async._api.requests import Capture
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.summary import Forecast, Guard, Summary, Tally, in_words

SENT = TransactionStatus.PAYMENT_LINK_SENT
NOT_SENT = TransactionStatus.PAYMENT_LINK_SENT_FAILED


def request_for(currency: str = "ZAR", amount: str = "10.00") -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel=Channel.SMS,
        to="27831234567",
        order_number="A-1",
        currency=currency,
        total_amount=amount,
    )


def outcome(state: State = State.APPLIED, result: Any = None, **fields: Any) -> Outcome[Any, Any]:
    return Outcome("A-1", fields.pop("request", request_for()), state, result, **fields)


# Summaries and forecasts --------------------------------------------------------------------------


def test_a_summary_counts_every_state_and_its_details() -> None:
    tally = Tally()
    for one in [
        outcome(result=PaymentLink(transaction_status=SENT)),
        outcome(
            result=PaymentLink(recovered=True, transaction_status=NOT_SENT),
            request=attrs.evolve(request_for(), return_payment_link=True),
        ),
        outcome(State.REJECTED, GatewayResult(payment_gateway_decision="DECLINE")),
        outcome(State.REJECTED),
        outcome(State.FAILED),
        outcome(State.UNKNOWN),
        outcome(State.SKIPPED),
    ]:
        tally.add(one)
    assert tally.summary(1.5) == Summary(
        applied=2,
        rejected=2,
        failed=1,
        unknown=1,
        skipped=1,
        recovered=1,
        not_delivered=1,
        without_url=1,
        declined=1,
        amounts={"ZAR": Decimal("20.00")},
        elapsed=1.5,
    )
    assert tally.summary(0.0).total == 7
    assert list(tally.summary(0.0).counts) == list(State)


def test_only_items_applied_in_this_run_are_summed() -> None:
    tally = Tally()
    link = PaymentLink(recovered=True, transaction_status=NOT_SENT)
    declined = GatewayResult(payment_gateway_decision="DECLINE")
    for state in (State.SKIPPED, State.UNKNOWN, State.FAILED, State.REJECTED):
        tally.add(outcome(state, link))
    tally.add(outcome(State.SKIPPED, declined))
    summary = tally.summary(0.0)
    assert (summary.recovered, summary.not_delivered, summary.declined) == (0, 0, 0)
    assert summary.amounts == {}


def test_amounts_are_summed_exactly_and_by_currency() -> None:
    tally = Tally()
    for currency, amount in [
        ("ZAR", "0.10"),
        ("JPY", "500"),
        ("ZAR", "0.20"),
        ("ZAR", "1" + "0" * 25),
    ]:
        tally.add(outcome(request=request_for(currency, amount)))
    assert tally.summary(0.0).amounts == {
        "JPY": Decimal(500),
        "ZAR": Decimal("10000000000000000000000000.30"),
    }


def test_an_item_without_an_amount_is_not_summed() -> None:
    tally = Tally()
    tally.add(outcome(request="ref-1"))
    tally.add(outcome(request=Capture("ref-1")))
    assert tally.summary(0.0) == Summary(applied=2)


def test_captures_are_summed_as_asked_or_else_as_answered() -> None:
    tally = Tally()
    answered = GatewayResult(total_amount=Decimal("7.00"))
    tally.add(outcome(result=answered, request=Capture("ref-1", "5.00", "ZAR")))
    tally.add(outcome(result=answered, request=Capture("ref-2")), "ZAR")
    tally.add(outcome(result=answered, request=Capture("ref-3")))
    assert tally.summary(0.0).amounts == {"ZAR": Decimal("12.00"), "": Decimal("7.00")}


def test_sums_are_written_with_the_decimals_of_their_currency() -> None:
    amounts = {"ZAR": Decimal("1199.9"), "JPY": Decimal("5.00"), "": Decimal("2.5")}
    assert in_words(amounts) == ["2.5 without currency", "JPY 5", "ZAR 1,199.90"]


def test_a_summary_does_not_change_with_the_run() -> None:
    tally = Tally()
    tally.add(outcome())
    before = tally.summary(0.0)
    tally.add(outcome())
    assert before == Summary(applied=1, amounts={"ZAR": Decimal("10.00")})


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (Summary(), "nothing; 0.0 s"),
        (Summary(applied=2, elapsed=61.26), "2 applied; 61.3 s"),
        (
            Summary(applied=3, recovered=2, without_url=1),
            "3 applied (2 recovered, 1 without URL); 0.0 s",
        ),
        (
            Summary(
                applied=3,
                rejected=2,
                failed=1,
                unknown=4,
                skipped=5,
                recovered=1,
                not_delivered=2,
                declined=1,
                amounts={"ZAR": Decimal("1234567.10"), "JPY": Decimal(500)},
                elapsed=2.0,
            ),
            (
                "3 applied (1 recovered, 2 not delivered), 2 rejected (1 declined), 1 failed, "
                "4 unknown, 5 skipped; JPY 500, ZAR 1,234,567.10; 2.0 s"
            ),
        ),
        (Summary(applied=1, not_delivered=1), "1 applied (1 not delivered); 0.0 s"),
    ],
)
def test_a_summary_prints_as_a_line(summary: Summary, text: str) -> None:
    assert str(summary) == text


@pytest.mark.parametrize(
    ("forecast", "text"),
    [
        (Forecast(), "nothing; about 0.0 s"),
        (
            Forecast(
                to_send=1200,
                to_look_up=2,
                final=3,
                refused=4,
                same_recipient=5,
                same_recipient_keys=("A-1", "A-2", "A-3", "A-4", "A-5"),
                amounts={"ZAR": Decimal("1234567.80"), "JPY": Decimal(5)},
                seconds=61.26,
            ),
            (
                "1200 to send (5 same recipient), 2 to look up, 3 final, 4 refused; "
                "JPY 5, ZAR 1,234,567.80; about 61.3 s"
            ),
        ),
        (Forecast(final=1, seconds=0.5), "1 final; about 0.5 s"),
    ],
)
def test_a_forecast_prints_as_a_line(forecast: Forecast, text: str) -> None:
    assert str(forecast) == text


def test_a_summary_and_a_forecast_are_hashable() -> None:
    assert len({Summary(), Summary(amounts={"ZAR": Decimal(1)}), Forecast()}) == 3


# The guard ----------------------------------------------------------------------------------------


def stopped_after(rate: float | None, states: list[State]) -> int | None:
    """Count the outcomes until a guard stops the run; None if it does not."""
    guard = Guard(rate)
    for number, state in enumerate(states, 1):
        if guard.notice(state) is not None:
            return number
    return None


BAD = [State.REJECTED, State.FAILED, State.UNKNOWN]


def test_a_guard_without_a_rate_stops_nothing() -> None:
    assert stopped_after(None, BAD * 1000) is None


@pytest.mark.parametrize("state", BAD)
def test_a_guard_with_rate_0_stops_at_the_first_failure(state: State) -> None:
    assert stopped_after(0.0, [State.APPLIED, State.SKIPPED, state]) == 3


def test_a_guard_with_rate_1_stops_nothing() -> None:
    assert stopped_after(1.0, BAD * 1000) is None


def test_a_guard_counts_the_first_few_as_if_there_were_20() -> None:
    assert stopped_after(0.2, [State.FAILED] * 4) is None
    assert stopped_after(0.2, [State.FAILED] * 5) == 5
    assert stopped_after(0.2, [State.APPLIED] * 16 + [State.FAILED] * 5) == 21


def test_a_guard_stops_only_above_its_rate() -> None:
    assert stopped_after(0.2, [State.APPLIED] * 80 + [State.FAILED] * 20) is None
    assert stopped_after(0.2, [State.APPLIED] * 80 + [State.FAILED] * 21) == 101


def test_a_guard_ignores_skipped_items() -> None:
    assert stopped_after(0.2, [State.SKIPPED] * 400 + [State.FAILED] * 5) == 405


def test_a_guard_counts_the_latest_500() -> None:
    assert Guard.LATEST == 500
    assert stopped_after(0.2, [State.APPLIED] * 10_000 + [State.FAILED] * 101) == 10_101
    old = [State.FAILED] * 4 + [State.APPLIED] * 500
    assert stopped_after(0.2, old + [State.FAILED] * 100) is None
    assert stopped_after(0.2, old + [State.FAILED] * 101) == 605


def test_a_guards_error_has_the_numbers() -> None:
    guard = Guard(0.0)
    guard.notice(State.APPLIED)
    error = guard.notice(State.UNKNOWN)
    assert isinstance(error, RunStoppedError)
    assert str(error) == (
        "1 of the latest 2 items were rejected, failed or are unknown, and "
        "stop_at_failure_rate=0 allows fewer. Find out why before you go on"
    )
