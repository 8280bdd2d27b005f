"""Trial of the package as it was installed: `python -I smoke.py core`, or `all`.

Neither pytest nor the checkout is needed: only what a user gets. `all` needs every extra.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

import chat2pay_async
from chat2pay_async import AsyncChat2Pay, PaymentLink

DOORS = ("models", "errors", "events", "callbacks", "bulk", "files", "web", "sandbox", "cli")
LINK: dict[str, Any] = {
    "channel": "sms",
    "to": "27831234567",
    "order_number": "S-1",
    "currency": "ZAR",
    "total_amount": "9.90",
}


async def with_the_core_alone(journal: Path) -> None:
    """Make a link twice over a transport of the user's: the second is the first."""
    sent: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(201, json={"paymentLinkRef": "ref-1"})

    async with AsyncChat2Pay(
        "smoke-key",
        base_url="https://chat2pay.invalid",
        transport=httpx.MockTransport(service),
        journal=journal,
    ) as client:
        links = [await client.create_payment_link(**LINK) for _ in range(2)]
    require(len(sent) == 1, "one request is sent")
    require([link.replayed for link in links] == [False, True], "the second link is the first")


async def take_a_payment(url: str, key: str, pay: Any, *, fast: bool) -> None:
    """Make a link, let the customer pay it, and capture it, over a socket."""
    from chat2pay_async.opentelemetry import Telemetry  # noqa: PLC0415 - an extra

    async with AsyncChat2Pay(
        key,
        base_url=url,
        transport="fast" if fast else None,
        http2=not fast,
        hooks=[Telemetry()],
    ) as client:
        link: PaymentLink = await client.create_payment_link(
            **LINK | {"order_number": f"S-{fast}", "transaction_type": "AUTHORIZATION"}
        )
        pay(link.payment_link_ref)
        captured = await client.capture_payment(link.payment_link_ref)
        require(captured.succeeded is True, "the payment is captured")


def with_all_extras(folder: Path) -> None:
    """Take payments on asyncio and on trio, and send a file by the command line."""
    import trio  # noqa: PLC0415 - an extra

    from chat2pay_async.sandbox import Sandbox, serve_sandbox  # noqa: PLC0415 - likewise

    with serve_sandbox(Sandbox()) as sandbox:

        async def payment(*, fast: bool) -> None:
            await take_a_payment(sandbox.url, sandbox.api_key, sandbox.pay, fast=fast)

        asyncio.run(payment(fast=True))
        trio.run(lambda: payment(fast=False))
        (folder / "spring.csv").write_text(
            "order_number,channel,to,currency,total_amount\nF-1,sms,27831234567,ZAR,9.90\n", "utf-8"
        )
        environ = {"CHAT2PAY_BASE_URL": sandbox.url, "CHAT2PAY_API_KEY": sandbox.api_key}
        for arguments in (
            ["links", "send", "spring.csv"],
            ["report", "spring", "--xlsx", "spring.xlsx"],
        ):
            command = (
                sys.executable,
                "-I",
                "-m",
                "chat2pay_async",
                *arguments,
                "--journal",
                "cli.db",
            )
            subprocess.run(command, cwd=folder, env=environ, check=True)  # noqa: S603 - ours
        require(len(sandbox.links()) == 3, "each made one link")


def require(condition: bool, fact: str) -> None:  # noqa: FBT001 - it is a condition
    """Stop where a fact is not so, also where `python -O` runs this."""
    if not condition:
        sys.exit(f"not so: {fact}")


def main(extent: str) -> None:
    """Import all that is public, and use it.

    Args:
        extent: `core`, or `all`.
    """
    for door in DOORS:
        import_module(f"chat2pay_async.{door}")
    is_installed = Path(chat2pay_async.__file__).is_relative_to(sys.prefix)
    require(is_installed, "it is the package that was installed, not a checkout")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(with_the_core_alone(Path(folder, "smoke.db")))
        if extent == "all":
            with_all_extras(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
