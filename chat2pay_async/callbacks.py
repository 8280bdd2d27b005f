"""Callbacks: what the service posts to your URL, read, confirmed, routed and waited for.

    from chat2pay_async import AsyncChat2Pay, PaymentStatus, callbacks

    client = AsyncChat2Pay(journal="payments.db")
    router = callbacks.Router()

    @router.on(callbacks.PaymentStatusCallback, PaymentStatus.SUCCESS)
    async def paid(callback: callbacks.PaymentStatusCallback) -> None:
        transaction = await callbacks.confirm(client, callback)
        if transaction.is_paid:
            await ship(transaction.order_number)

    async def endpoint(request):        # FastAPI's, Starlette's
        return Response(status_code=await router.respond(request.stream(), request.headers))

**Nothing in a callback is proven.** The service signs nothing, and names no address that it posts
from: whoever knows your URL can post to it, and say that an order is paid. `confirm` asks the
service with your API key; act on the `Transaction` that it returns. Make the URL hard to guess.

# Kinds

`parse` tells them by their content, so that one URL serves for all three:

- `TransactionStatusCallback`: a link was made, cancelled or clicked, has expired, or its payment's
  status changed.
- `PaymentStatusCallback`: a payment has a new status.
- `ConfigurationCallback`: an API key, a currency or a channel was added or removed.
- `UnknownCallback`: anything else that is a JSON object.

>>> callback = parse(b'{"orderNumber": "A-1", "to": "27831234567", "paymentStatus": "SUCCESS"}')
>>> callback.order_number, callback.payment_status.name
('A-1', 'SUCCESS')
>>> "27831234567" in repr(callback)
False

Whatever else is posted is a `CallbackError`.

# Deliveries that are repeated and shuffled

The service delivers again whatever was not answered with 200. So a callback may come twice, and a
late one may come after a later one:

- `callback.deduplication_key` is the same for each delivery of a callback: make it a unique column.
- `progress(callback)`, and `progress(transaction)`, is a number that grows as a link goes on. Keep
  it with the order, and ignore what does not have a greater one: a late "link created" undoes
  nothing.

>>> late = parse(b'{"orderNumber": "A-1", "transactionStatus": "PAYMENT_LINK_SENT"}')
>>> progress(late) < progress(callback)
True

# Handlers that take long

Nobody knows how long the service waits for its answer. Where a handler takes more than a few
seconds, store the body, answer 200, and let a task of your own parse it, confirm it, and do the
rest.
"""

from chat2pay_async._callbacks.confirmation import confirm
from chat2pay_async._callbacks.models import (
    Callback,
    ConfigurationCallback,
    PaymentStatusCallback,
    TransactionStatusCallback,
    UnknownCallback,
    progress,
)
from chat2pay_async._callbacks.parsing import parse
from chat2pay_async._callbacks.router import Router
from chat2pay_async._callbacks.waiter import CallbackWaiter

__all__ = [
    "Callback",
    "CallbackWaiter",
    "ConfigurationCallback",
    "PaymentStatusCallback",
    "Router",
    "TransactionStatusCallback",
    "UnknownCallback",
    "confirm",
    "parse",
    "progress",
]
