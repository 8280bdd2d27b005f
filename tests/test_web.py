"""Errors have one HTTP status each, and the guide's table gives the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat2pay_async import errors, web

GUIDE = Path(__file__).parent.parent / "docs" / "errors.md"


def every_error(
    kind: type[errors.Chat2PayError] = errors.Chat2PayError,
) -> Iterator[type[errors.Chat2PayError]]:
    if kind.__module__ == errors.__name__:
        yield kind
        for heir in kind.__subclasses__():
            yield from every_error(heir)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.OutcomeUnknownError, 202),
        (errors.BadRequestError, 400),
        (errors.NotFoundError, 404),
        (errors.ConflictError, 409),
        (errors.IdempotencyConflictError, 409),
        (errors.RequestValidationError, 422),
        (errors.ConfigurationError, 500),
        (errors.AuthenticationError, 500),
        (errors.PermissionDeniedError, 500),
        (errors.ConnectionFailedError, 502),
        (errors.ServerError, 502),
        (errors.RateLimitedError, 503),
        (errors.JournalError, 503),
        (errors.RequestTimeoutError, 504),
    ],
)
def test_an_error_has_the_status_of_its_class(
    kind: type[errors.Chat2PayError], status: int
) -> None:
    assert web.http_status(kind()) == status


def test_a_class_that_is_not_listed_has_the_status_of_its_base() -> None:
    class Own(errors.NotFoundError):
        """A user's own error."""

    assert web.http_status(Own()) == 404
    assert errors.ReceiptNotSentError not in web.HTTP_STATUS
    assert web.http_status(errors.ReceiptNotSentError()) == 400


def test_what_is_no_error_of_the_package_is_a_failure_of_the_application() -> None:
    assert web.http_status(KeyError("x")) == 500


def test_an_unknown_outcome_alone_is_neither_a_success_nor_a_failure() -> None:
    kinds = {kind for kind in every_error() if web.http_status(kind()) < 400}
    assert kinds == {errors.OutcomeUnknownError}


def test_the_table_can_not_be_changed() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        web.HTTP_STATUS[errors.ServerError] = 200  # type: ignore[index]


def test_the_guide_names_every_error_with_its_status() -> None:
    rows = re.findall(r"^\| `(\w+)` .*\| (\d{3}) \|$", GUIDE.read_text("utf-8"), re.MULTILINE)
    named = {name: int(status) for name, status in rows}
    kinds = {kind.__name__: web.http_status(kind()) for kind in every_error()}
    del kinds["Chat2PayError"], kinds["ApiError"], kinds["TransportError"]  # only bases
    assert named == kinds
