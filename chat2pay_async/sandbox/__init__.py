"""A Chat 2 Pay of your own: stateful, on your machine, sending nothing and moving no money.

It needs the extra: `pip install "chat2pay-async[sandbox]"`.

In a test, in the same process:

    sandbox = Sandbox()
    transport = httpx.ASGITransport(app=sandbox.app)
    async with AsyncChat2Pay(api_key=sandbox.api_key, transport=transport) as client:
        link = await client.create_payment_link(request)
        sandbox.pay(link.payment_link_ref)
        await client.capture_payment(link.payment_link_ref)
    assert sandbox.ledger.count("captured") == 1
    assert not sandbox.ledger.twice("captured")

Over a real socket, from asyncio, uvloop or trio:

    async with serve_sandbox() as sandbox:
        async with AsyncChat2Pay(api_key=sandbox.api_key, base_url=sandbox.url) as client:
            ...

In a process of its own, for anything that speaks HTTP: `chat2pay sandbox`, or without the extra
`cli` `python -m chat2pay_async.sandbox`.

Somebody has to be the customer, and the payment gateway. In code these are methods, elsewhere
paths that need no API key, such as `POST /sandbox/links/{payment link reference}/pay`:

| Method | Path below `/sandbox` | What happens |
|---|---|---|
| `click(ref)` | `POST links/{ref}/click` | the customer opens the payment page |
| `pay(ref)` | `POST links/{ref}/pay` | pays: a sale, or an authorization |
| `decline(ref)` | `POST links/{ref}/decline` | tries to pay, and is declined |
| `review(ref)` | `POST links/{ref}/review` | pays, and is held for review |
| `expire(ref)` | `POST links/{ref}/expire` | lets the link expire |
| `settle(ref)` | `POST links/{ref}/settle` | settles a capture: it can't be reversed any more |
| `trigger(event, order)` | `POST orders/{order}/{event}` | `paid`, `declined`, `review`, \
`expired` or `cancelled` |
| `decline_capture(ref)` | `POST links/{ref}/decline-capture` | the next capture is declined |
| `decline_reverse(ref)` | `POST links/{ref}/decline-reverse` | the next reverse is declined |
| `fail_receipt(ref)` | `POST links/{ref}/fail-receipt` | the next receipt is not sent |
| `fail_delivery(order)` | `POST orders/{order}/fail-delivery` | the order's link is not sent |
| `ledger` | `GET ledger`, `?effects=1` | the effects, and how often each took place |
| `links()` | `GET links` | every link in a few words |
| `advance(seconds)` | `POST clock`, `{"advance": 300}` | moves the clock: links expire, captures \
settle |
| `callbacks` | `GET`, `POST`, `DELETE callbacks`, `{"url": …}` | where callbacks go, and what \
became of them |
| `wire_forms` | `GET`, `PUT`, `DELETE wire` | the forms of the values in responses |
| `add_account(key)` | `POST accounts`, `{"apiKey": …}` | another key, with data of its own |
| `change_currencies(…)` | `PUT currencies`, `{"currencies": […]}` | the currencies that it takes |

Over HTTP, the header `Authorization` says which account is meant; without it, it is the first.
These paths are for this machine alone, unless `has_open_controls` is set.

What cannot happen, like paying a cancelled link, raises `SandboxError` (409 over HTTP), and an
unknown reference `UnknownReferenceError` (404).

Things go wrong by a plan, which a seed repeats, or exactly as a test says; `InjectedFault` lists
what can:

    faults = InjectedFault("drop_after", 0.05), InjectedFault("lag", 0.3)
    sandbox.faults = FaultPlan(faults, seed=7)
    sandbox.next_faults("create_payment_link", ["reset_before", None, "apply_late"])
    sandbox.apply_late()
    assert sandbox.ledger.faults["create_payment_link", "drop_after"] == 3

| Method | Path below `/sandbox` | What happens |
|---|---|---|
| `faults` | `GET faults` | the plan |
| `set_faults(plan)` | `PUT faults` | things go wrong by it from now on |
| `set_faults(None)` | `DELETE faults` | nothing goes wrong any more |
| `next_faults(operation, faults)` | `POST faults/next` | the faults of its next requests |
| `apply_late()` | `POST apply-late` | all late requests are applied |

As JSON a plan is a preset's name, `"harsh"`, or an object with the fields of `FaultPlan`, in which
`preset` names a plan to start from: `{"preset": "mild", "seed": 7, "faults": [{"kind": "lag",
"rate": 0.3, "seconds": [1, 2]}]}`. On the command line, `--faults` takes a preset's name, such an
object, or a file with one. Over HTTP a script is `{"operation": "create_payment_link", "faults":
["drop_after", null, {"kind": "throttle", "form": "date"}]}`.

In process, where there is no connection to cut, the app raises `ConnectionResetError` for a reset
and `ConnectionAbortedError` for a connection that is closed.

It keeps the published contract; where the service was seen to differ, it does as the service does.
It shares no code with the rest of this package: a mistake in a wire name must not cancel itself
out.
"""

from chat2pay_async.sandbox._errors import SandboxError, UnknownReferenceError
from chat2pay_async.sandbox._faults.plan import (
    FAULT_KINDS,
    POSTS,
    PRESETS,
    FaultKind,
    FaultPlan,
    InjectedFault,
)
from chat2pay_async.sandbox._sandbox import TRIGGERS, Sandbox
from chat2pay_async.sandbox._serve import serve_sandbox
from chat2pay_async.sandbox._service.callbacks import (
    CALLBACK_KINDS,
    CallbackDelivery,
    CallbackKind,
    Callbacks,
    SandboxCallback,
)
from chat2pay_async.sandbox._service.ledger import EFFECT_KINDS, Effect, EffectKind, Ledger
from chat2pay_async.sandbox._service.wire_forms import WireForms

__all__ = [
    "CALLBACK_KINDS",
    "EFFECT_KINDS",
    "FAULT_KINDS",
    "POSTS",
    "PRESETS",
    "TRIGGERS",
    "CallbackDelivery",
    "CallbackKind",
    "Callbacks",
    "Effect",
    "EffectKind",
    "FaultKind",
    "FaultPlan",
    "InjectedFault",
    "Ledger",
    "Sandbox",
    "SandboxCallback",
    "SandboxError",
    "UnknownReferenceError",
    "WireForms",
    "serve_sandbox",
]
