"""Views of an exception in other people's tools: error trackers, tracebacks with locals, logs."""

from __future__ import annotations

import json
import pickle
import pprint
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import loguru
import rich.traceback
import sentry_sdk
import structlog.tracebacks
from sentry_sdk.scrubber import EventScrubber

from chat2pay_async.errors import Chat2PayError

__all__ = ["CARD", "KEY", "PAGE", "PHONE", "RECEIPT", "SECRETS", "TOOLS", "leaks"]

KEY = "sk-live-5ecretkey"
PHONE = "27831234567"
CARD = "4111111111111111"
RECEIPT = "https://shop.test/r/5ecretreceipt"
PAGE = "https://pay.test/p/5ecretpage"
SECRETS = {"key": KEY, "phone": PHONE, "card": CARD, "receipt link": RECEIPT, "page": PAGE}

loguru.logger.remove()  # the one that prints to standard error
EXACT: dict[str, Any] = {"locals_max_length": None, "locals_max_string": None}


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Go through an exception, its causes, its contexts and what it groups."""
    to_see: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while to_see:
        one = to_see.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        yield one
        to_see += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """Go through the frames of all of its tracebacks."""
    for one in chain_of(error):
        for frame, _line in traceback.walk_tb(one.__traceback__):
            yield frame


def without_frames_of_tests(error: BaseException) -> None:
    """Leave tests' own frames out: they hold what is looked for."""
    for one in chain_of(error):
        entries = []
        trace = one.__traceback__
        while trace is not None:
            if not Path(trace.tb_frame.f_code.co_filename).name.startswith("test_"):
                entries.append(trace)
            trace = trace.tb_next
        for entry in reversed(entries):
            trace = TracebackType(trace, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
        one.__traceback__ = trace


def by_sentry(error: BaseException) -> str:
    """Send it to Sentry, with nothing scrubbed."""
    events: list[Any] = []

    class Transport(sentry_sdk.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            events.append(envelope.serialize().decode(errors="replace"))

    with sentry_sdk.isolation_scope() as scope:
        scope.clear_breadcrumbs()  # of what was logged before
        client = sentry_sdk.Client(
            dsn="http://key@sentry.test/1",
            transport=Transport,
            max_value_length=100_000,
            event_scrubber=EventScrubber(denylist=[], pii_denylist=[]),
            default_integrations=False,
        )
        scope.set_client(client)
        scope.capture_exception(error)
        client.close(timeout=0)
    assert events
    return "".join(events)


def by_rich(error: BaseException) -> str:
    """Collect what rich prints, with local variables; its layout takes 20 times as long."""
    found = rich.traceback.Traceback.extract(
        type(error), error, error.__traceback__, show_locals=True, **EXACT
    )
    return repr(found)


def by_loguru(error: BaseException) -> str:
    """Log it with loguru, which shows the values in each line."""
    lines: list[str] = []
    sink = loguru.logger.add(lines.append, diagnose=True, backtrace=False)
    loguru.logger.opt(exception=error).error("failed")
    loguru.logger.remove(sink)
    return "".join(map(str, lines))


def by_structlog(error: BaseException) -> str:
    """Make a dictionary of it, as structlog does."""
    transform = structlog.tracebacks.ExceptionDictTransformer(
        show_locals=True, locals_max_length=10_000, locals_max_string=100_000
    )
    return json.dumps(transform((type(error), error, error.__traceback__)), default=repr)


def by_traceback(error: BaseException) -> str:
    """Format it with the local variables of each frame."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def by_pprint(error: BaseException) -> str:
    """Print the local variables of each frame."""
    return "".join(pprint.pformat(dict(frame.f_locals)) for frame in frames_of(error))


def by_json(error: BaseException) -> str:
    """Write the local variables of each frame as JSON."""
    shown = [dict(frame.f_locals) for frame in frames_of(error)]
    return json.dumps(shown, default=repr, skipkeys=True, check_circular=False)


TOOLS: dict[str, Callable[[BaseException], str]] = {
    "sentry": by_sentry,
    "rich": by_rich,
    "loguru": by_loguru,
    "structlog": by_structlog,
    "traceback": by_traceback,
    "pprint": by_pprint,
    "json": by_json,
}


def leaks(error: BaseException, logged: str = "") -> list[str]:
    """Name each tool that shows a secret, and the secret."""
    without_frames_of_tests(error)
    shown = {name: tool(error) for name, tool in TOOLS.items()} | {"logging": logged}
    for one in chain_of(error):
        shown["text"] = shown.get("text", "") + str(one) + repr(one)
    if isinstance(error, Chat2PayError):
        pickled = pickle.dumps(error)
        # Bodies and what is pending travel with their error, as its documentation says.
        found = ["pickle: key"] if KEY.encode() in pickled.replace(error_body(error), b"") else []
    else:
        found = []
    return found + [
        f"{tool}: {name}"
        for tool, text in shown.items()
        for name, it in SECRETS.items()
        if it in text
    ]


def error_body(error: Chat2PayError) -> bytes:
    return getattr(error, "body", b"") or b"\0nothing"
