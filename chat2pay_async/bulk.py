"""Campaigns and jobs: one operation for thousands of items, that survive `kill -9`.

    from chat2pay_async import AsyncChat2Pay, bulk

    async with AsyncChat2Pay() as client:
        async with bulk.create_payment_links(client, requests, journal="spring.db") as run:
            async for outcome in run:
                if outcome.state is bulk.State.APPLIED:
                    print(outcome.key, outcome.result.payment_link_ref)
        print(run.summary)

# Campaigns

The items come from any iterable, or any async one, and are taken from it only as fast as they are
done: a generator over a file of a million rows needs no more memory than one over a hundred.
Outcomes come as they finish, in any order; a slow reader slows the run down, and loses nothing.

>>> [state.name for state in State]
['APPLIED', 'REJECTED', 'FAILED', 'UNKNOWN', 'SKIPPED']

`APPLIED` and `REJECTED` are final. `FAILED` means that nothing was applied, so the next run tries
again. `UNKNOWN` is what can't be told: the next run looks it up first, and so does
`client.resolve(outcome.error.pending)` (without an error, a gateway has not decided yet). What was
applied may still need a look: a link that nobody received (`outcome.delivered is False`), a capture
that the gateway declined (`outcome.declined`, state `REJECTED`). `run.summary` counts all of these.

An order number, or a payment link reference, occurs once in a run: a second one is refused, and
not sent. A wrong API key stops the run, and so does `stop_at_failure_rate=0.2` once more than a
fifth of the latest 500 outcomes (skipped ones apart) are not `APPLIED`. What stops a run is raised
where its outcomes are read, after the last of them.

# Leaving early, and stopping

Leave the loop whenever you like. Nothing more is taken from the source, what is under way (at most
`concurrency` items) comes to its end, for up to `drain` seconds, and `run.undelivered` has every
outcome that you did not take. After `run.stop()`, as after whatever stops a run by itself, the loop
goes on with what is under way, for as long as that takes; leave it to wait no longer than `drain`.
A run that is cancelled does not wait: what was under way is `UNKNOWN`, or `FAILED` if it had not
left yet.

A generator that you pass is read no further then, but not closed: it is yours. Give an async one
that holds something open an `aclosing` of your own.

# Resuming

With a journal, every POST is written down to the disk itself before it leaves, and every outcome
before you see it. If the process dies, make the same run again, with the same journal: what was in
doubt is looked up first (and sent again only if it is explicitly absent), what is final is
`SKIPPED`, with the result of then, the rest is sent. Nothing is sent twice, and nothing is lost.

- A journal belongs to one operation, one base URL and one API key, and to one run at a time.
- A row whose source has changed since it was sent is refused (`REJECTED`, and its error says which
  fields). Put it back, or give the new version an order number of its own. An item that `FAILED`
  may be changed.
- What is in doubt is settled even if the source has it no more.
- It is an SQLite file, with a second one beside it (`-wal`) while it is used: keep them together.
  It must be on a local disk, and it holds personal data.
- Across journals nothing protects. Without the old journal, `check_existing=True` looks each order
  up before it is sent for the first time, which costs one request more for each.

Without a journal a run can't be resumed; the rest holds all the same.

# Dry runs

`dry_run=True` reads everything, sends nothing, and gives only the outcomes of items that would not
be sent. `run.forecast` then says what would be: how many, what they come to in each currency, which
recipients would get more than one link, and how long it would take.

    async with bulk.create_payment_links(client, requests, dry_run=True) as run:
        problems = [outcome async for outcome in run]
    print(run.forecast)

# Jobs of captures, reversals, receipts

    async with bulk.capture_payments(
        client, [bulk.Capture(ref) for ref in refs], journal="captures.db"
    ) as run:
        async for outcome in run:
            if outcome.declined:
                print(outcome.key, outcome.result.payment_gateway_error_decision)

A capture is `APPLIED` once the gateway accepted it, `REJECTED` if it declined, and `UNKNOWN` while
it has not decided.
"""

from chat2pay_async._bulk.factory import (
    Capture,
    Forecast,
    Journal,
    LinkReference,
    Outcome,
    ReadOptions,
    ReceiptRequest,
    Run,
    RunOptions,
    State,
    Summary,
    TransactionQuery,
    cancel_payment_links,
    capture_payments,
    create_payment_links,
    create_receipts,
    get_transactions,
    reverse_payments,
)

__all__ = [
    "Capture",
    "Forecast",
    "Journal",
    "LinkReference",
    "Outcome",
    "ReadOptions",
    "ReceiptRequest",
    "Run",
    "RunOptions",
    "State",
    "Summary",
    "TransactionQuery",
    "cancel_payment_links",
    "capture_payments",
    "create_payment_links",
    "create_receipts",
    "get_transactions",
    "reverse_payments",
]
