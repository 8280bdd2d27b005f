"""`AsyncChat2Pay`: the eight operations, and what belongs to them."""

from __future__ import annotations

import copy
import os
import ssl
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import attrs

from chat2pay_async import _config, _eventloop, errors, events
from chat2pay_async._api import models, operations
from chat2pay_async._api.enums import IntegrationStatus, IntegrationStatusName
from chat2pay_async._api.headers import AskForKey, KeySource, added_headers, key_or_source
from chat2pay_async._api.responses import RawResponse
from chat2pay_async._config import RetryPolicy, Timeout
from chat2pay_async._health import HealthChecks
from chat2pay_async._journal.settings import Journal, as_journal, store_of
from chat2pay_async._polling import Waiter, wait_for_payment
from chat2pay_async._raw_client import RawChat2Pay, link_request
from chat2pay_async._recovery import Recovery
from chat2pay_async._send.call import Call, Options
from chat2pay_async._send.idempotency import KeyedCalls
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import Limiter, RateLimit, Slots, limiter_of
from chat2pay_async._send.references import references_over
from chat2pay_async._send.sender import Sender
from chat2pay_async._tracebacks import hiding_arguments
from chat2pay_async._transport.factory import library_of_types, transport_for

if TYPE_CHECKING:
    import httpx
    import httpx2
else:  # what evaluates annotations (`typing.get_type_hints`) finds them, installed or not
    httpx, httpx2 = library_of_types("httpx"), library_of_types("httpx2")

__all__ = ["AsyncChat2Pay", "inner"]


class AsyncChat2Pay(Recovery, HealthChecks):
    """A client of the Chat 2 Pay API v2, for asyncio, uvloop and trio.

        async with AsyncChat2Pay(api_key="…") as client:
            link = await client.create_payment_link(PaymentLinkRequest(
                channel=Channel.SMS, to="27831234567", order_number="A-1001",
                currency="ZAR", total_amount="199.90"))

    It may be made outside a running event loop, and works on the first one that it is used on,
    where it is closed, too. One that is dropped unclosed warns (`ResourceWarning`). Any number of
    calls may be in progress at a time; `max_connections` of them are on the wire, a tenth of which
    (at least one of two or more) is kept for look-ups; the others wait, first come first served.

    Every method may raise, beside what it names itself:

    - `RequestValidationError`: the request breaks the contract; nothing was sent.
    - `TypeError`: an amount is a float, or a request is not of its class; nothing was sent.
    - `AuthenticationError`, `PermissionDeniedError`: the key is wrong, or may not do this.
    - `RateLimitedError`: the service asks to wait for more than a minute, or throttles for longer
      than a call waits.
    - `TransportError`, `ServerError`, `ResponseDecodeError`: no usable response. Nothing was
      applied (or, of a read and of `update_integration`, it is harmless to repeat).
    - `IdempotencyConflictError` (create, cancel, capture, reverse, receipt): its key is known with
      another content; not sent. `JournalError`: the journal can't be used; not sent.
    - `OutcomeUnknownError` (create, cancel, capture, reverse, receipt, and `request` except GET and
      HEAD): no usable response, and it may have been applied.
    - `ConfigurationError`: the client is closed or works on another event loop, the `api_key`
      callable returns no key, or a setting can't work.
    """

    @hiding_arguments
    def __init__(  # noqa: PLR0913 - each is a setting of its own, and has a default
        self,
        api_key: str | AskForKey | None = None,
        *,
        base_url: str | httpx.URL | None = None,
        timeout: Timeout | float = Timeout(),
        retry: RetryPolicy = RetryPolicy(),
        rate_limit: RateLimit | Limiter | None = None,
        max_connections: int = 100,
        journal: str | os.PathLike[str] | Journal | None = None,
        transport: (
            httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport | Literal["fast"] | None
        ) = None,
        http_client: httpx.AsyncClient | httpx2.AsyncClient | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        ssl_context: ssl.SSLContext | None = None,
        http2: bool = False,
        default_headers: Mapping[str, str] | None = None,
        app_info: Mapping[str, str] | None = None,
        hooks: Iterable[events.Hook] = (),
        allow_http_hosts: Iterable[str] = (),
    ) -> None:
        """Set up a client; nothing is connected yet.

        Args:
            api_key: The API key; or a callable that returns it, or something to await for it, and
                is asked before each attempt and look-up, for keys that are rotated: let it return
                at once while its key is good. Where it raises, or takes longer than `Timeout.read`,
                nothing is sent, and the attempt is retried as one that found no connection. All its
                keys must be of one account, since what is unresolved is looked up with the latest.
                `resolve` takes a `Pending` of any key that this client was given; after a restart,
                one of an older key needs `another_key=True`, and a journal needs
                `Journal(path, new_key=True)`. Default: CHAT2PAY_API_KEY.
            base_url: The API's base URL; https, unless the host is this machine. Default:
                CHAT2PAY_BASE_URL, else production. It ends before the API's own `/api/v2`.
            timeout: A `Timeout`, or seconds for each of connect, read and write.
            retry: The policy by which calls are retried, and unknown outcomes looked up.
            rate_limit: A `RateLimit`, or a `Limiter` of your own; None sends as fast as the
                connections allow until the first 429, and then about as fast as the service does. A
                429 pauses all of this client's tasks for 1 to 60 s, unless the limiter is your own.
            max_connections: The most requests that may be on the wire at a time.
            journal: The path of the account's journal, or a `Journal`: with it a repeated call gets
                the first result, in any process of this machine, and nothing that was sent is lost.
            transport: `"fast"` sends over the same connections without an httpx object on the way,
                in half to two thirds of the CPU time; or an httpx transport to send over (a mock,
                `httpx.ASGITransport`, …), which is closed with this client. The fast transport
                works below what tools patch: where a mock has patched httpx, it refuses to send.
            http_client: Your own `httpx.AsyncClient` (or `httpx2.AsyncClient`): its proxies, TLS
                settings, event hooks, auth, headers and cookies act. It is never closed by this
                client, and its redirects are not followed. Its auth must send the credentials at
                once: a POST or PUT leaves once in an attempt, so a flow that answers a challenge
                (401) by sending it again, or a transport that retries, ends the attempt as unknown
                ("RequestRepeated"), which is looked up. A flow that keeps what it learnt, as
                `httpx.DigestAuth`, may learn it from a read first. A transport that is not built on
                httpcore does not tell what it did: it must raise no `ConnectError` once it has sent
                anything, and a copy of a refusal, or of a 429, that something on the way sends on
                it is believed, as it is where a hook reads bodies. Over httpx's own connections, a
                POST that was given up may be delivered up to two minutes later, when a network
                heals; its pool is slow with many requests at a time, and can lose a connection for
                good. `http_client_for` makes a client without these faults. Default: such a client.
            proxy: The proxy of all requests. Default: the environment's (HTTPS_PROXY, NO_PROXY, …),
                and none for plain http, which is for servers on this machine.
            ssl_context: The TLS settings for connections to the service, for a private authority
                (`ssl.create_default_context(cafile=…)`) or a client certificate
                (`.load_cert_chain(…)`). Its ALPN protocols are set by this client. For an https
                proxy, pass `httpx.Proxy(url, ssl_context=…)`. Default: the authorities of
                SSL_CERT_FILE, else of SSL_CERT_DIR, else of certifi.
            http2: Offer HTTP/2 (extra `http2`). A connection still serves one request at a time. A
                server that shuts one down in good order still responds to the request that it has.
                A POST that it refuses in this way has an unknown outcome, and is looked up.
            default_headers: Headers of every request, such as a gateway's. Those that carry the
                key, name the program or the host, or say how to read a request, are refused: use
                `api_key`, `app_info` and `base_url`.
            app_info: Your program, for the User-Agent: its `name`, and perhaps `version` and `url`.
            hooks: Callables that are given every event (`chat2pay_async.events`).
            allow_http_hosts: Hosts asked in plain http (a sandbox's), beside CHAT2PAY_ALLOW_HTTP's.

        Raises:
            ConfigurationError: A setting that can't work; the message says what to change.
        """
        key, url = key_or_source(api_key), _config.base_url_of(base_url, allow_http_hosts)
        added, all_hooks = added_headers(default_headers, app_info), events.Hooks(hooks)
        options = Options(_config.as_timeout(timeout), _config.as_retry(retry))
        limiter, slots = limiter_of(rate_limit), Slots(max_connections)
        exchanges = transport_for(
            url,
            transport=transport,
            http_client=http_client,
            proxy=proxy,
            ssl_context=ssl_context,
            http2=http2,
            reserved=operations.PARAMETERS,
        )
        self._route = f"{url} through the proxy {exchanges.proxy}" if exchanges.proxy else url
        given = key if isinstance(key, KeySource) else key.reveal()
        limited = LimitedTransport(exchanges, slots, limiter, given, added)
        known = references_over(transport if http_client is None else http_client)
        sender, kept = Sender(limited, all_hooks, key, url, known), as_journal(journal)
        store = None if kept is None else store_of(kept)
        # Calls with the same key are one where these are the same.
        whose = (url, key.name if isinstance(key, KeySource) else key.fingerprint)
        calls = KeyedCalls(sender, store, whose if kept is None else kept.path)
        self._own(calls, options, is_view=False)

    def _own(self, calls: KeyedCalls, options: Options, *, is_view: bool) -> None:
        self._calls = calls
        self._options = options
        self._is_view = is_view
        self._raw = RawChat2Pay(calls, options)

    def __repr__(self) -> str:
        # A tool may ask for it while a refused setting is on its way out of `__init__`.
        if not hasattr(self, "_options"):
            return "<AsyncChat2Pay that was not set up>"
        return f"<AsyncChat2Pay of {self._route}, {self._options}>"

    @overload
    async def create_payment_link(
        self, request: models.PaymentLinkRequest, *, idempotency_key: str | None = None
    ) -> models.PaymentLink: ...

    @overload
    async def create_payment_link(
        self, *, idempotency_key: str | None = None, **fields: Unpack[models.PaymentLinkFields]
    ) -> models.PaymentLink: ...

    @hiding_arguments
    async def create_payment_link(
        self,
        request: models.PaymentLinkRequest | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> models.PaymentLink:
        """Make a payment link, and have it sent (contract: createPayByLinkTransactionLog).

        A link whose message could not be sent is returned too: ask `delivered`.

        A lost response is looked up by the order number, so give each link one of its own: where
        two links share one, the look-up may find the other, and more outcomes stay unknown.

        A link that was read back by a look-up has `recovered=True`, and no `payment_link`: look-ups
        never carry the URL. If you need it, cancel this link, see in `get_transaction` that it is
        cancelled, and create another under a new order number.

        Args:
            request: The link; or pass its fields as keywords.
            idempotency_key: Names the call. Default: the order number. Another key is how a second
                link for one order is made on purpose.
            **fields: The fields of a `PaymentLinkRequest`, typed by `PaymentLinkFields`.

        Raises:
            BadRequestError: The service refuses the request; no link was made.
            OutcomeUnknownError: A link may exist.
        """
        link = link_request(request, fields)
        call = Call(operations.CREATE_PAYMENT_LINK, link, self._options, _eventloop.now())
        return (await self._calls.make(call, idempotency_key)).result

    async def cancel_payment_link(
        self, payment_link_ref: str, *, idempotency_key: str | None = None
    ) -> models.Cancellation:
        """Cancel a link that was not clicked yet (contract: cancelLink).

        Args:
            payment_link_ref: The link's reference.
            idempotency_key: Names the call. Default: the reference.

        Raises:
            BadRequestError: It was clicked, cancelled before, or has expired.
            NotFoundError: There is no such link.
            OutcomeUnknownError: It may be cancelled.
        """
        raw, key = self._raw, idempotency_key
        return (await raw.cancel_payment_link(payment_link_ref, idempotency_key=key)).parsed

    async def capture_payment(
        self,
        payment_link_ref: str,
        amount: Decimal | int | str | None = None,
        *,
        currency: str | None = None,
        idempotency_key: str | None = None,
    ) -> models.GatewayResult:
        """Capture an authorized payment, in full or in part. Only one capture is possible.

        Contract: capturePayment. A gateway's refusal is returned, not raised: ask `succeeded`.

        Args:
            payment_link_ref: The paid link's reference.
            amount: The amount in the link's currency. Default: all of it.
            currency: Not sent; it allows the amount more than 2 decimals (KWD 1.250).
            idempotency_key: Names the call. Default: the reference.

        Raises:
            BadRequestError: It was captured before, is no authorization, or was not paid.
            NotFoundError: There is no such link.
            OutcomeUnknownError: It may be captured.
        """
        return (
            await self._raw.capture_payment(
                payment_link_ref, amount, currency=currency, idempotency_key=idempotency_key
            )
        ).parsed

    async def reverse_payment(
        self, payment_link_ref: str, *, idempotency_key: str | None = None
    ) -> models.GatewayResult:
        """Reverse an authorization, or a capture not settled yet (contract: reverseTransaction).

        A settled payment needs a refund elsewhere. A gateway's refusal is returned: `succeeded`.

        Args:
            payment_link_ref: The paid link's reference.
            idempotency_key: Names the call. Default: the reference.

        Raises:
            BadRequestError: There is nothing to reverse.
            NotFoundError: There is no such link.
            OutcomeUnknownError: It may be reversed.
        """
        raw, key = self._raw, idempotency_key
        return (await raw.reverse_payment(payment_link_ref, idempotency_key=key)).parsed

    @hiding_arguments
    async def create_receipt(
        self,
        payment_link_ref: str,
        receipt_link: str,
        timestamp: datetime | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> models.Receipt:
        """Send the customer a link to their receipt (contract: createPaymentReceipt).

        Args:
            payment_link_ref: The paid link's reference.
            receipt_link: The receipt's URL.
            timestamp: The receipt's time. Default: now.
            idempotency_key: Names the call. Default: the reference and the URL.

        Raises:
            ReceiptNotSentError: The receipt was created, but its message could not be sent.
            NotFoundError: There is no such link.
            OutcomeUnknownError: The receipt may have been sent.
        """
        return (
            await self._raw.create_receipt(
                payment_link_ref, receipt_link, timestamp, idempotency_key=idempotency_key
            )
        ).parsed

    async def get_transaction(
        self,
        *,
        order_number: str | None = None,
        payment_link_ref: str | None = None,
        receipt_link_ref: str | None = None,
    ) -> models.Transaction:
        """Look up what became of a link, by at least one of these (contract: getTransactionStatus).

        Args:
            order_number: The order's number. Of two links that share one, either may be found.
            payment_link_ref: The link's reference.
            receipt_link_ref: Its latest receipt's; of an older one, pass `payment_link_ref`, too.

        Raises:
            NotFoundError: There is none.
            ResponseDecodeError: The response is no JSON object, or is about another link.
        """
        return (
            await self._raw.get_transaction(
                order_number=order_number,
                payment_link_ref=payment_link_ref,
                receipt_link_ref=receipt_link_ref,
            )
        ).parsed

    async def get_configuration(self) -> models.Configuration:
        """Read how the account is set up (contract: getConfigSettings).

        Raises:
            ResponseDecodeError: The response is no JSON object.
        """
        return (await self._raw.get_configuration()).parsed

    async def update_integration(
        self, application_uuid: str, status: IntegrationStatus | IntegrationStatusName
    ) -> models.IntegrationUpdate:
        """Activate, deactivate or delete an integration (contract: updateIntegrationStatus).

        Args:
            application_uuid: The integration's id: `Integrator.application_id`.
            status: Its new status: an `IntegrationStatus`, or its name in any case.

        Raises:
            NotFoundError: There is no such integration.
            ResponseDecodeError: The response is no JSON object.
        """
        return (await self._raw.update_integration(application_uuid, status)).parsed

    @hiding_arguments
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> RawResponse[Any]:
        """Call an endpoint that this version does not know, as carefully as the others.

            found = await client.request("GET", "/api/v2/some-report", params={"page": 2})
            print(found.parsed)

        GET and HEAD are retried, others only where they certainly were not sent, or were throttled.
        A 2xx is believed (to a write: one with JSON, or empty). There is no look-up: an unknown
        outcome stays unknown, and `resolve` says UNDETERMINED.

        Args:
            method: GET, HEAD, POST, PUT, PATCH or DELETE.
            path: The path below the base URL, percent-encoded.
            params: The query: texts, ints and Decimals; None is left out. httpx's own log shows it.
            json: The body.

        Returns:
            The response, with its body's JSON as `parsed` (decimals as `Decimal`), None where there
            is none.

        Raises:
            ApiError: The service refuses the request; nothing was applied.
            OutcomeUnknownError: It may have been applied; it was no GET or HEAD.
        """
        return await self._raw.request(method, path, params=params, json=json)

    async def wait_for_payment(
        self,
        payment_link_ref: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - how long to poll is this method's matter
        initial: float = 1.0,
        maximum: float = 15.0,
        waiter: Waiter | None = None,
    ) -> models.Transaction:
        """Poll until a payment has come to its end.

        Its end is a payment status SUCCESS, FAILED, REVERSED or VOIDED, or a link that was
        cancelled or has expired unpaid.

        Args:
            payment_link_ref: The link's reference.
            timeout: The most seconds to wait, more than 0; None waits for as long as it takes.
            initial: Seconds until the second look-up; the pause grows by half with each.
            maximum: The most seconds between two look-ups.
            waiter: A `callbacks.CallbackWaiter`: it paces the look-ups of all that wait with it,
                and looks first where a callback came. Default: each has its own look-ups.

        Raises:
            RequestTimeoutError: The payment did not come to its end in time.
            NotFoundError: There is no such link, `RetryPolicy.settle` seconds later either.
            TransportError, ServerError, RateLimitedError, ResponseDecodeError: Ten look-ups in a
                row failed, or were answered with another link.
            ConfigurationError: `timeout`, `initial` or `maximum` is out of range.
        """
        # Each look-up is repeated by the next. Retries would spend the quota that all calls share.
        once = self.with_options(retry=attrs.evolve(self._options.retry, max_attempts=1))
        return await wait_for_payment(
            lambda: once.get_transaction(payment_link_ref=payment_link_ref),
            settle=self._options.retry.settle,
            timeout=timeout,
            initial=initial,
            maximum=maximum,
            pause=None if waiter is None else partial(waiter.pause, payment_link_ref),
        )

    @property
    def with_raw_response(self) -> RawChat2Pay:
        """The same operations, each returning a `RawResponse`: status, headers, bytes, attempts."""
        return self._raw

    def with_options(
        self, *, timeout: Timeout | float | None = None, retry: RetryPolicy | None = None
    ) -> Self:
        """Return a view on the same connections with other settings; None keeps what is set.

        The view is not closed; the client that it was made from is.
        """
        options = self._options
        if timeout is not None:
            options = attrs.evolve(options, timeout=_config.as_timeout(timeout))
        if retry is not None:
            options = attrs.evolve(options, retry=_config.as_retry(retry))
        view = copy.copy(self)  # with what a subclass keeps
        view._own(self._calls, options, is_view=True)  # noqa: SLF001 - this very class's
        return view

    async def aclose(self) -> None:
        """Close the connections. Calls made later are refused.

        Raises:
            ConfigurationError: This is a view, which has no connections of its own.
        """
        if self._is_view:
            raise errors.ConfigurationError(
                "a view made by with_options is not closed; close the client it was made from"
            )
        try:
            await self._calls.aclose()
        finally:
            await self._calls.sender.aclose()

    async def __aenter__(self) -> Self:
        if self._is_view:
            raise errors.ConfigurationError(
                "use `async with` on the client, not on a view made by with_options"
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def inner(client: AsyncChat2Pay) -> tuple[KeyedCalls, Options]:
    """Return a client's calls and options, for runs, which make its calls in their own way."""
    return client._calls, client._options  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
