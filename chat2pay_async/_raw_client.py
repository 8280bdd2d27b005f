"""The eight operations, each with everything that its exchange told.

`client.with_raw_response` is one of these. `AsyncChat2Pay`'s own methods are these, less all but
the result; what an operation does is said there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from chat2pay_async._api import models, operations, requests
from chat2pay_async._api.responses import RawResponse
from chat2pay_async._send.call import Options
from chat2pay_async._send.sender import Sender

__all__ = ["RawChat2Pay"]


class RawChat2Pay:
    """Every method takes what `AsyncChat2Pay`'s takes, and returns a `RawResponse`."""

    def __init__(self, sender: Sender, options: Options) -> None:
        self._sender = sender
        self._options = options

    async def create_payment_link(
        self, request: models.PaymentLinkRequest
    ) -> RawResponse[models.PaymentLink]:
        """See `AsyncChat2Pay.create_payment_link`."""
        operations.CREATE_PAYMENT_LINK.check(request)
        return await self._sender.send(operations.CREATE_PAYMENT_LINK, request, self._options)

    async def cancel_payment_link(self, payment_link_ref: str) -> RawResponse[models.Cancellation]:
        """See `AsyncChat2Pay.cancel_payment_link`."""
        request = operations.CANCEL_PAYMENT_LINK.of(payment_link_ref=payment_link_ref)
        return await self._sender.send(operations.CANCEL_PAYMENT_LINK, request, self._options)

    async def capture_payment(
        self, payment_link_ref: str, amount: Decimal | int | str | None = None
    ) -> RawResponse[models.GatewayResult]:
        """See `AsyncChat2Pay.capture_payment`."""
        request = operations.CAPTURE_PAYMENT.of(payment_link_ref=payment_link_ref, amount=amount)
        return await self._sender.send(operations.CAPTURE_PAYMENT, request, self._options)

    async def reverse_payment(self, payment_link_ref: str) -> RawResponse[models.GatewayResult]:
        """See `AsyncChat2Pay.reverse_payment`."""
        request = operations.REVERSE_PAYMENT.of(payment_link_ref=payment_link_ref)
        return await self._sender.send(operations.REVERSE_PAYMENT, request, self._options)

    async def create_receipt(
        self, payment_link_ref: str, receipt_link: str, timestamp: datetime | None = None
    ) -> RawResponse[models.Receipt]:
        """See `AsyncChat2Pay.create_receipt`."""
        request = operations.CREATE_RECEIPT.of(
            payment_link_ref=payment_link_ref,
            receipt_link=receipt_link,
            timestamp=datetime.now(UTC) if timestamp is None else timestamp,
        )
        return await self._sender.send(operations.CREATE_RECEIPT, request, self._options)

    async def get_transaction(
        self,
        *,
        order_number: str | None = None,
        payment_link_ref: str | None = None,
        receipt_link_ref: str | None = None,
    ) -> RawResponse[models.Transaction]:
        """See `AsyncChat2Pay.get_transaction`."""
        request = operations.GET_TRANSACTION.of(
            order_number=order_number,
            payment_link_ref=payment_link_ref,
            receipt_link_ref=receipt_link_ref,
        )
        return await self._sender.send(operations.GET_TRANSACTION, request, self._options)

    async def get_configuration(self) -> RawResponse[models.Configuration]:
        """See `AsyncChat2Pay.get_configuration`."""
        return await self._sender.send(
            operations.GET_CONFIGURATION, requests.ConfigurationQuery(), self._options
        )

    async def update_integration(
        self, application_uuid: str, status: models.IntegrationStatus | str
    ) -> RawResponse[models.IntegrationUpdate]:
        """See `AsyncChat2Pay.update_integration`."""
        request = operations.UPDATE_INTEGRATION.of(application_uuid=application_uuid, status=status)
        return await self._sender.send(operations.UPDATE_INTEGRATION, request, self._options)
