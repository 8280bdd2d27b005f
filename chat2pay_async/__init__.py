"""An async SDK for the Clickatell Chat 2 Pay API v2: nothing twice, nothing lost.

    import asyncio
    from chat2pay_async import AsyncChat2Pay, Channel, PaymentLinkRequest

    async def main():
        async with AsyncChat2Pay() as client:         # the key is in CHAT2PAY_API_KEY
            link = await client.create_payment_link(PaymentLinkRequest(
                channel=Channel.SMS, to="27831234567", order_number="A-1001",
                currency="ZAR", total_amount="199.90", return_payment_link=True))
            print(link.payment_link)

    asyncio.run(main())

- `AsyncChat2Pay` is the client: eight operations, one method each.
- `chat2pay_async.models` has the requests and responses, `chat2pay_async.errors` the errors and
  what each one proves.
- `chat2pay_async.events` has the events that hooks receive; `chat2pay_async.opentelemetry` makes
  traces and metrics of them.
- `chat2pay_async.bulk` runs campaigns and jobs of thousands, that survive `kill -9`;
  `chat2pay_async.cli` does so from files.
- `chat2pay_async.callbacks` reads what the service posts to your URL, and confirms it.
- `chat2pay_async.sandbox` is a whole Chat 2 Pay on your own machine.
"""

# Names are imported when they are first used: a small command starts in a third of the time.
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat2pay_async._api.models import *
    from chat2pay_async._api.responses import RawResponse
    from chat2pay_async._client import AsyncChat2Pay
    from chat2pay_async._config import RetryPolicy, Timeout, __version__
    from chat2pay_async._health import Health, HealthPart
    from chat2pay_async._journal.settings import Journal
    from chat2pay_async._raw_client import RawChat2Pay
    from chat2pay_async._recovery import Recovered
    from chat2pay_async._send.limits import Limiter, RateLimit
    from chat2pay_async._send.reconciliation import Resolution, Verdict
    from chat2pay_async._transport.factory import http_client_for
    from chat2pay_async.errors import *
    from chat2pay_async.events import Event, Hook
else:

    def __getattr__(name: str) -> object:
        if name in _DOORS:
            return import_module(f"{__name__}.{name}")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        modules = (import_module(f"{__name__}.{place}") for place in _PLACES)
        found = getattr(next(module for module in modules if name in module.__all__), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_DOORS})

    _DOORS = frozenset({"bulk", "callbacks", "errors", "events", "files", "models"})
    _PLACES = (
        *("errors", "_config", "events", "_api.models", "_api.responses", "_journal.settings"),
        *("_send.limits", "_send.reconciliation", "_recovery", "_transport.factory"),
        *("_raw_client", "_health", "_client"),
    )

__all__ = [
    "ApiError",
    "AsyncChat2Pay",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "CallbackError",
    "Cancellation",
    "Channel",
    "Chat2PayError",
    "Configuration",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "Currency",
    "Event",
    "Fault",
    "FileFaultsError",
    "GatewayAnswer",
    "GatewayResult",
    "Health",
    "HealthPart",
    "Hook",
    "IdempotencyConflictError",
    "IntegrationStatus",
    "IntegrationUpdate",
    "Integrator",
    "IntegratorType",
    "Journal",
    "JournalError",
    "Limiter",
    "LineItem",
    "NotFoundError",
    "OutcomeUnknownError",
    "PaymentLink",
    "PaymentLinkFields",
    "PaymentLinkRequest",
    "PaymentStatus",
    "PaymentStatusEntry",
    "Pending",
    "PermissionDeniedError",
    "Proof",
    "RateLimit",
    "RateLimitedError",
    "RawChat2Pay",
    "RawResponse",
    "Receipt",
    "ReceiptNotSentError",
    "Recovered",
    "RequestTimeoutError",
    "RequestValidationError",
    "Resolution",
    "ResponseDecodeError",
    "RetryPolicy",
    "RunStoppedError",
    "SentRequest",
    "ServerError",
    "ThirdPartyError",
    "Timeout",
    "Transaction",
    "TransactionStatus",
    "TransactionStatusEntry",
    "TransactionType",
    "TransportError",
    "Verdict",
    "__version__",
    "http_client_for",
]
