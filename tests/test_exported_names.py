"""The names that programs may import stay the same."""

from __future__ import annotations

import contextlib
import enum
import importlib
import inspect
import pkgutil
import sys
import typing
from collections.abc import Iterator
from typing import Any

import attrs
import httpx
import pytest

import chat2pay_async
from chat2pay_async import AsyncChat2Pay, _client, errors, http_client_for, models

MENU = (
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
)
"""A name that goes away, or comes, is a decision: it is made here too."""


def public_modules() -> Iterator[str]:
    """Every module whose name, and whose packages' names, have no underscore in front."""
    yield chat2pay_async.__name__
    for found in pkgutil.walk_packages(chat2pay_async.__path__, f"{chat2pay_async.__name__}."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield found.name


MODULES = tuple(public_modules())


def as_ruff_sorts(name: str) -> tuple[int, str]:
    """Constants first, then classes, then everything else."""
    if name.isupper():
        return 0, name
    return (1 if name[0].isupper() else 2), name


def classes_and_functions() -> Iterator[tuple[str, str]]:
    for module in MODULES:
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            value = getattr(loaded, name)
            if inspect.isclass(value) or inspect.isroutine(value):
                yield module, name


def test_the_menu_is_exactly_this() -> None:
    assert tuple(chat2pay_async.__all__) == MENU
    assert list(MENU) == sorted(MENU)


def test_nothing_public_is_imported_by_the_menu_without_being_on_it() -> None:
    names = {
        name
        for name, value in vars(chat2pay_async).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    # The others are there once they are used.
    assert names <= {*MENU, "TYPE_CHECKING", "import_module"}


@pytest.mark.parametrize("name", MENU)
def test_everything_on_the_menu_can_be_had(name: str) -> None:
    assert getattr(chat2pay_async, name) is not None


def test_a_star_brings_the_menu() -> None:
    brought: dict[str, object] = {}
    exec("from chat2pay_async import *", brought)  # noqa: S102 - what a user could write
    assert brought.keys() - {"__builtins__"} == set(MENU)


def test_models_enums_and_errors_are_all_on_the_menu() -> None:
    assert set(models.__all__) | set(errors.__all__) <= set(MENU)


@pytest.mark.parametrize(
    "name",
    [
        *("PaymentLinkRequest", "LineItem", "PaymentLink", "Cancellation", "GatewayResult"),
        *("Receipt", "Transaction", "TransactionStatusEntry", "PaymentStatusEntry", "Integrator"),
        *("ThirdPartyError", "Configuration", "Currency", "IntegrationUpdate"),
    ],
)
def test_every_model_is_a_frozen_slotted_class_under_its_name(name: str) -> None:
    model = getattr(chat2pay_async, name)
    assert attrs.has(model)
    assert "__dict__" not in dir(model)
    assert model.__name__ == name
    assert model.__setattr__ is not object.__setattr__


@pytest.mark.parametrize(
    "name",
    [
        *("Channel", "TransactionType", "TransactionStatus", "PaymentStatus", "IntegrationStatus"),
        "IntegratorType",
    ],
)
def test_every_enum_is_one_of_strings_under_its_name(name: str) -> None:
    kind = getattr(chat2pay_async, name)
    assert issubclass(kind, enum.StrEnum)
    assert kind.__name__ == name


@pytest.mark.parametrize(
    "method",
    [
        *("create_payment_link", "cancel_payment_link", "capture_payment", "reverse_payment"),
        *("create_receipt", "get_transaction", "get_configuration", "update_integration"),
        *("wait_for_payment", "health", "aclose"),
    ],
)
def test_the_client_has_this_coroutine_method(method: str) -> None:
    assert inspect.iscoroutinefunction(getattr(AsyncChat2Pay, method))


def test_the_client_takes_everything_but_the_key_by_keyword() -> None:
    first, *others = inspect.signature(AsyncChat2Pay).parameters.values()
    assert (first.name, first.kind.name, first.default) == (
        "api_key",
        "POSITIONAL_OR_KEYWORD",
        None,
    )
    assert {one.kind.name for one in others} == {"KEYWORD_ONLY"}
    assert all(one.default is not inspect.Parameter.empty for one in others)
    assert {"base_url", "timeout", "retry", "max_connections", "transport"} <= {
        one.name for one in others
    }
    assert {"http_client", "hooks"} <= {one.name for one in others}


def test_the_client_has_its_views() -> None:
    assert inspect.isfunction(AsyncChat2Pay.with_options)
    assert isinstance(inspect.getattr_static(AsyncChat2Pay, "with_raw_response"), property)


def test_the_submodules_that_programs_import_are_there() -> None:
    assert {
        "chat2pay_async",
        "chat2pay_async.callbacks",
        "chat2pay_async.errors",
        "chat2pay_async.events",
        "chat2pay_async.files",
        "chat2pay_async.models",
        "chat2pay_async.opentelemetry",
        "chat2pay_async.sandbox",
    } <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_says_what_is_public_in_order(module: str) -> None:
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    assert list(loaded.__all__) == sorted(set(loaded.__all__), key=as_ruff_sorts)


@pytest.mark.parametrize(("module", "name"), list(classes_and_functions()))
def test_every_public_class_and_function_is_explained_in_its_own_words(
    module: str, name: str
) -> None:
    # Looked up in the object itself: a class must not borrow the docstring of its base.
    assert inspect.getattr_static(getattr(importlib.import_module(module), name), "__doc__")


def public_callables() -> Iterator[tuple[str, str]]:
    """Functions, classes, and what the classes can do."""
    for module, name in classes_and_functions():
        yield module, name
        value = getattr(importlib.import_module(module), name)
        for inner, member in inspect.getmembers(value) if inspect.isclass(value) else ():
            is_public = not inner.startswith("_") or inner in {"__init__", "__call__", "__aenter__"}
            if is_public and (inspect.isfunction(member) or isinstance(member, property)):
                yield module, f"{name}.{inner}"


@pytest.mark.parametrize(("module", "name"), list(public_callables()))
def test_the_types_of_everything_that_can_be_called_can_be_asked_for(
    module: str, name: str
) -> None:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    found = found.fget if isinstance(found, property) else found
    assert typing.get_type_hints(found) is not None
    with contextlib.suppress(ValueError):  # some builtins have no signature
        assert inspect.signature(found, eval_str=True) is not None


def test_the_clients_types_are_the_libraries_own_and_httpx2_need_not_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "httpx2", None)
        hints = typing.get_type_hints(AsyncChat2Pay.__init__)
        assert typing.get_args(hints["http_client"])[0] is httpx.AsyncClient
        missing = typing.get_args(hints["http_client"])[1]
        assert (missing.__module__, missing.__name__) == ("httpx2", "AsyncClient")
    assert not hasattr(vars(_client)["httpx2"], "__wrapped__")
    hints = typing.get_type_hints(http_client_for)
    assert hints["return"] is httpx.AsyncClient


def test_names_are_listed_and_unknown_ones_refused() -> None:
    assert set(chat2pay_async.__all__) | {"bulk", "errors", "files"} <= set(dir(chat2pay_async))
    door: Any = chat2pay_async
    assert door.bulk.State.APPLIED == "applied"
    with pytest.raises(AttributeError, match="has no attribute 'AsyncChat3Pay'"):
        _ = chat2pay_async.AsyncChat3Pay  # type: ignore[attr-defined]
