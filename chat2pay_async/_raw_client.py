"""The eight operations, each returning its whole exchange: `client.with_raw_response`.

`AsyncChat2Pay`'s own methods call these and return the result alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, Unpack, overload

from chat2pay_async._api import models, operations
from chat2pay_async._api.endpoint import endpoint_for
from chat2pay_async._api.enums import IntegrationStatus, IntegrationStatusName
from chat2pay_async._api.operations import Operation
from chat2pay_async._api.responses import RawResponse
from chat2pay_async._send.call import Options
from chat2pay_async._send.idempotency import KeyedCalls
from chat2pay_async._tracebacks import hiding_arguments

__all__ = ["RawChat2Pay", "link_request"]

Q = TypeVar("Q")
R = TypeVar("R")


class RawChat2Pay:
    """A client whose methods return a `RawResponse`: `client.with_raw_response`.

    They take the arguments of `AsyncChat2Pay`'s methods of the same name, and raise their errors.
    """

    def __init__(self, calls: KeyedCalls, options: Options) -> None:
        self._calls = calls
        self._options = options

    @hiding_arguments
    def _send(
        self, operation: Operation[Q, R], key: str | None = None, /, **fields: Any
    ) -> Awaitable[RawResponse[R]]:
        return self._calls.send(operation, operation.of(**fields), self._options, key)

    @overload
    async def create_payment_link(
        self, request: models.PaymentLinkRequest, *, idempotency_key: str | None = None
    ) -> RawResponse[models.PaymentLink]: ...

    @overload
    async def create_payment_link(
        self, *, idempotency_key: str | None = None, **fields: Unpack[models.PaymentLinkFields]
    ) -> RawResponse[models.PaymentLink]: ...

    @hiding_arguments
    async def create_payment_link(
        self,
        request: models.PaymentLinkRequest | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> RawResponse[models.PaymentLink]:
        """Make a payment link, and have it sent; see `AsyncChat2Pay.create_payment_link`."""
        link = link_request(request, fields)
        create = operations.CREATE_PAYMENT_LINK
        return await self._calls.send(create, link, self._options, idempotency_key)

    async def cancel_payment_link(
        self, payment_link_ref: str, *, idempotency_key: str | None = None
    ) -> RawResponse[models.Cancellation]:
        """Cancel a link that was not clicked yet; see `AsyncChat2Pay.cancel_payment_link`."""
        cancel = operations.CANCEL_PAYMENT_LINK
        return await self._send(cancel, idempotency_key, payment_link_ref=payment_link_ref)

    async def capture_payment(
        self,
        payment_link_ref: str,
        amount: Decimal | int | str | None = None,
        *,
        currency: str | None = None,
        idempotency_key: str | None = None,
    ) -> RawResponse[models.GatewayResult]:
        """Capture an authorized payment; see `AsyncChat2Pay.capture_payment`."""
        return await self._send(
            operations.CAPTURE_PAYMENT,
            idempotency_key,
            payment_link_ref=payment_link_ref,
            amount=amount,
            currency=currency,
        )

    async def reverse_payment(
        self, payment_link_ref: str, *, idempotency_key: str | None = None
    ) -> RawResponse[models.GatewayResult]:
        """Reverse an authorization or a capture; see `AsyncChat2Pay.reverse_payment`."""
        reverse = operations.REVERSE_PAYMENT
        return await self._send(reverse, idempotency_key, payment_link_ref=payment_link_ref)

    @hiding_arguments
    async def create_receipt(
        self,
        payment_link_ref: str,
        receipt_link: str,
        timestamp: datetime | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> RawResponse[models.Receipt]:
        """Send the customer a link to their receipt; see `AsyncChat2Pay.create_receipt`."""
        given = {} if timestamp is None else {"timestamp": timestamp}
        return await self._send(
            operations.CREATE_RECEIPT,
            idempotency_key,
            payment_link_ref=payment_link_ref,
            receipt_link=receipt_link,
            **given,
        )

    async def get_transaction(
        self,
        *,
        order_number: str | None = None,
        payment_link_ref: str | None = None,
        receipt_link_ref: str | None = None,
    ) -> RawResponse[models.Transaction]:
        """Look up what became of a link; see `AsyncChat2Pay.get_transaction`."""
        return await self._send(
            operations.GET_TRANSACTION,
            order_number=order_number,
            payment_link_ref=payment_link_ref,
            receipt_link_ref=receipt_link_ref,
        )

    async def get_configuration(self) -> RawResponse[models.Configuration]:
        """Read how the account is set up; see `AsyncChat2Pay.get_configuration`."""
        return await self._send(operations.GET_CONFIGURATION)

    async def update_integration(
        self, application_uuid: str, status: IntegrationStatus | IntegrationStatusName
    ) -> RawResponse[models.IntegrationUpdate]:
        """Set the status of an integration; see `AsyncChat2Pay.update_integration`."""
        return await self._send(
            operations.UPDATE_INTEGRATION, application_uuid=application_uuid, status=status
        )

    @hiding_arguments
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> RawResponse[Any]:
        """Call an endpoint that this version does not know; see `AsyncChat2Pay.request`."""
        endpoint, sent = endpoint_for(method, path, params, json)
        return await self._calls.send(endpoint, sent, self._options)


def link_request(
    request: models.PaymentLinkRequest | None, fields: Mapping[str, Any]
) -> models.PaymentLinkRequest:
    """Return a link's request, or build it of its fields.

    Raises:
        TypeError: Both were given, or the request is none.
        RequestValidationError: The fields break the contract.
    """
    create = operations.CREATE_PAYMENT_LINK
    if request is None:
        return create.of(**fields)
    if fields:
        raise TypeError(f"{create.name} takes a request, or its fields, not both")
    create.check(request)
    return request
