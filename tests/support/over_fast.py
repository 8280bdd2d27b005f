"""`--transport=fast`: every client that a test makes exchanges over the fast transport.

A transport, or a transport that plays the service, then stands behind a connection in memory; what
would connect to a server connects to it by the fast transport itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from bridge import BridgedTransport

from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._transport.base import Transport
from chat2pay_async._transport.fast import FastTransport
from chat2pay_async._transport.httpx import HttpxTransport
from chat2pay_async._transport.pool import PooledTransport

__all__ = ["OverFast"]

TRIO = "connections in memory are of asyncio"
OTHER = "is about the other transports"
CHOOSES = "chooses its transports itself, a user's http_client among them"
SLOW = "takes long, and chooses its transport itself"
THEIRS = "a user's http_client is httpx's to exchange over"
RESPX = "respx answers in httpx's and httpcore's place, not below them"
CONNECTING = "plays a transport that is still connecting"
KEPT_BACK = "counts what a transport kept back; here nothing comes so far"
GUARDS = "looks at the guards that a transport is given"
HEADERS = "looks at the headers that a transport is given"
OUTLASTS = "plays a transport that outlasts its time to read"
CLOSES = "counts suspensions; in the last one a connection is closed, whatever is cancelled"
SKIPPED = {
    "acceptance": SLOW,
    (
        "test_cancellation.py::"
        "test_a_call_cancelled_at_any_suspension_was_not_sent_or_is_kept_until_it_is_settled"
    ): CLOSES,
    "test_client.py::test_a_client_or_transport_of_httpx2_will_do": THEIRS,
    "test_client.py::test_a_users_client_is_used_and_left_open": THEIRS,
    "test_client.py::test_the_repr_of_a_client_shows_the_proxy_of_a_users_http_client": THEIRS,
    "test_client.py::test_nothing_that_a_run_prints_shows_a_secret": RESPX,
    "test_client.py::test_the_environments_key_and_base_url_are_used": RESPX,
    "test_factory.py::test_a_client_certificate_is_shown": CHOOSES,
    (
        "test_factory.py::"
        "test_a_connection_that_turned_out_to_be_for_http2_is_refused_and_nothing_sent"
    ): CHOOSES,
    (
        "test_factory.py::test_a_context_that_was_used_for_http2_is_not_taken_for_an_offer_of_it"
    ): CHOOSES,
    ("test_factory.py::test_a_private_authority_is_trusted_where_its_context_is_given"): CHOOSES,
    "test_factory.py::test_a_request_without_a_body_says_so_unless_it_is_a_read": CHOOSES,
    "test_factory.py::test_a_users_headers_and_program_go_out_with_every_request": CHOOSES,
    "test_failures.py": CHOOSES,
    "test_httpcore.py": OTHER,
    "test_ecosystem.py": OTHER,
    "test_httpx.py": OTHER,
    "test_keys.py::test_a_plain_function_may_be_asked_and_its_key_stays": HEADERS,
    "test_keys.py::test_calls_at_a_time_have_each_their_own_key": HEADERS,
    "test_keys.py::test_each_attempt_asks_for_its_key": HEADERS,
    "test_limited_transport.py::test_a_request_goes_out_as_it_is_with_the_keys_headers": (
        "compares the very objects that a transport is given and returns"
    ),
    (
        "test_opentelemetry.py::test_a_cancelled_attempt_and_its_call_end_with_the_cancellation"
    ): OUTLASTS,
    "test_opentelemetry.py::test_a_call_that_is_cancelled_in_a_look_up_ends_that_too": OUTLASTS,
    "test_opentelemetry.py::test_logfire_shows_the_same_spans": THEIRS,
    (
        "test_opentelemetry.py::test_the_spans_of_an_instrumented_client_lie_below_the_attempts"
    ): THEIRS,
    (
        "test_opentelemetry.py::"
        "test_without_http_the_spans_of_an_instrumented_client_lie_below_the_call"
    ): THEIRS,
    "test_pool.py": OTHER,
    "test_proxy.py": OTHER,
    "test_reach.py": CHOOSES,
    (
        "test_reconciliation.py::test_a_look_up_that_ends_after_the_windows_end_counts_by_its_start"
    ): OUTLASTS,
    (
        "test_references.py::test_a_reference_that_one_client_received_is_no_other_clients_over_"
        "the_same_connections[http_client]"
    ): THEIRS,
    "test_secrets.py": CHOOSES,
    "test_secrets_of_diagnostics.py": CHOOSES,
    "test_simulation.py::test_every_call_ends_and_is_applied_once_at_most": CONNECTING,
    (
        "test_simulation.py::"
        "test_where_requests_arrive_later_or_twice_nothing_is_reported_that_is_not_there"
    ): CONNECTING,
    (
        "test_reconciliation.py::"
        "test_a_post_that_outlasts_its_read_timeout_has_a_window_from_its_end"
    ): OUTLASTS,
    "test_sender.py::test_a_connection_that_no_post_follows_on_is_closed": GUARDS,
    "test_sender.py::test_a_deadline_holds_for_a_repeated_post_whose_verdict_is_fresh": CONNECTING,
    "test_sender.py::test_a_deadline_that_passes_before_the_first_byte_sends_nothing": CONNECTING,
    ("test_sender.py::test_a_post_that_follows_its_look_up_leaves_by_the_same_connection"): GUARDS,
    (
        "test_sender.py::test_a_verdict_that_is_a_second_old_at_the_first_byte_is_made_again"
    ): CONNECTING,
    (
        "test_sender.py::test_what_stays_is_looked_up_where_it_may_have_been_applied"
    ): "a connection in memory has no TLS",
    "test_sender.py::test_an_attempt_whose_verdicts_are_all_too_old_was_not_sent": CONNECTING,
    "test_sender.py::test_a_deadline_that_passes_where_nothing_awaits_sends_nothing": KEPT_BACK,
    (
        "test_sender.py::test_a_transport_error_names_its_cause_and_shows_none_of_its_words"
    ): "expects the name of httpx's exception",
    (
        "test_sender.py::test_cancelling_a_post_that_was_certainly_not_sent_leaves_nothing_unresolved"
    ): CONNECTING,
    "test_single_flight.py::test_calls_of_two_loops_in_two_threads_are_one": TRIO,
}
"""Reasons for what is not run, by a folder's name, a file's, or a test's with its file's.

A test's may have one of its parameters in brackets.
"""


LEAST = 950
"""Tests that go over the fast transport when all are run: a few less than were counted."""


class OverFast:
    """The plugin that the option registers."""

    def __init__(self) -> None:
        self._bridges: list[BridgedTransport] = []
        self._exchanges: Counter[str] = Counter()
        self._test = ""
        self._stale = set(SKIPPED)
        self._whole = True
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(LimitedTransport, "__init__", self._leading(LimitedTransport.__init__))
        self._patch.setattr(FastTransport, "exchange", self._counting(FastTransport.exchange))

    def _leading(self, make: Callable[..., None]) -> Callable[..., None]:
        def made(limited: LimitedTransport, transport: Transport, *rest: Any) -> None:
            make(limited, self._over_fast(transport), *rest)

        return made

    def _over_fast(self, transport: Transport) -> Transport:
        if isinstance(transport, FastTransport):
            return transport
        base_url = "http://far.test"
        if isinstance(transport, HttpxTransport):
            assert transport._owned, "a test of a user's http_client belongs in SKIPPED"
            base_url = transport._base_url
            if isinstance(transport._client._transport, PooledTransport):
                return FastTransport(base_url)
        self._bridges.append(BridgedTransport(transport, base_url))
        return self._bridges[-1]

    def _counting(self, exchange: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*arguments: Any) -> Any:
            self._exchanges[self._test] += 1
            return await exchange(*arguments)

        return counted

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip what can't be run, with the reason."""
        for item in items:
            names = names_of(item)
            self._stale -= names
            reason = (
                TRIO if is_on_trio(item) else next(map(SKIPPED.get, names & set(SKIPPED)), None)
            )
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Note whose exchanges come now."""
        self._test = item.nodeid

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self) -> None:
        """Let go of what the test left open: one that plays the service needs no closing."""
        for bridge in self._bridges:
            bridge.abandon()
        self._bridges.clear()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of pytest-xdist has counted."""
        exchanges, stale = node.workeroutput["over_fast"]
        self._exchanges.update(exchanges)
        self._stale &= set(stale)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail where too few went over the fast transport, or a name above is out of date."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["over_fast"] = (dict(self._exchanges), sorted(self._stale))
            return
        options = session.config.option
        testpaths = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
        self._whole = testpaths and not options.keyword and not options.markexpr
        if self._fault():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _fault(self) -> str:
        tests = len(self._exchanges)
        if tests < (LEAST if self._whole else 1):
            return f"; {LEAST if self._whole else 1} tests or more should have"
        stale = self._stale - {"acceptance"} if self._whole else set()
        return f"; nothing is called {', '.join(sorted(stale))}" if stale else ""

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Report how much it was."""
        tests, exchanges, fault = len(self._exchanges), self._exchanges.total(), self._fault()
        counted = f"{tests} tests made {exchanges} exchanges over the fast transport"
        terminalreporter.write_line(counted + fault, red=bool(fault))

    def pytest_unconfigure(self) -> None:
        """Leave everything as it was."""
        self._patch.undo()


def is_on_trio(item: pytest.Item) -> bool:
    """Tell a test that runs on trio."""
    call = getattr(item, "callspec", None)
    names = ("anyio_backend", "loop")
    return call is not None and any(str(call.params.get(name)).startswith("trio") for name in names)


def names_of(item: pytest.Item) -> set[str]:
    """The names by which `SKIPPED` may know a test."""
    file, name = item.path.name, getattr(item, "originalname", item.name)
    call = getattr(item, "callspec", None)
    values = [] if call is None else call.params.values()
    cases = {f"{file}::{name}[{value}]" for value in values if isinstance(value, str)}
    return {item.path.parent.name, file, f"{file}::{name}", *cases}
