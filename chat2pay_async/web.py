"""The HTTP status with which a web application answers for an error.

    @app.exception_handler(Chat2PayError)
    async def failed(request, error):
        return JSONResponse({"error": type(error).__name__}, web.http_status(error))

A wrong key or setting is the application's own fault (500), and a refusal that its user can correct
is passed on. A 429 of the service is a 503, since the user did not send too much.

An unknown outcome is a 202: *accepted, not completed*. It is neither a success nor a failure, and,
unlike a 502 or a 504, no proxy and no retrying client takes it for a request to send it again.

>>> from chat2pay_async.errors import OutcomeUnknownError, RequestTimeoutError
>>> http_status(OutcomeUnknownError("it may have been applied")), http_status(RequestTimeoutError())
(202, 504)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from chat2pay_async import errors

__all__ = ["HTTP_STATUS", "http_status"]

HTTP_STATUS: Final[Mapping[type[errors.Chat2PayError], int]] = MappingProxyType(
    {
        errors.Chat2PayError: 500,
        errors.RequestValidationError: 422,
        errors.FileFaultsError: 422,
        errors.CallbackError: 400,
        errors.TransportError: 502,
        errors.RequestTimeoutError: 504,
        errors.ApiError: 502,
        errors.BadRequestError: 400,
        errors.AuthenticationError: 500,
        errors.PermissionDeniedError: 500,
        errors.NotFoundError: 404,
        errors.ConflictError: 409,
        errors.RateLimitedError: 503,
        errors.ResponseDecodeError: 502,
        errors.IdempotencyConflictError: 409,
        errors.JournalError: 503,
        errors.RunStoppedError: 503,
        errors.OutcomeUnknownError: 202,
    }
)
"""Class of error → HTTP status; a class that is not listed has its nearest base's."""


def http_status(error: BaseException) -> int:
    """Return the status with which a web application answers for an error.

    Anything that is no `Chat2PayError` is a 500.
    """
    found = (HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)
    return next(found, 500)
