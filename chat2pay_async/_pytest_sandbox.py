"""The sandbox of one test, which the fixture `chat2pay_sandbox` gives it."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._config import RetryPolicy, Timeout
from chat2pay_async.sandbox import (
    Callbacks,
    FaultKind,
    FaultPlan,
    InjectedFault,
    Ledger,
    Sandbox,
    serve_sandbox,
)

__all__ = ["Customer", "SandboxFixture", "serve_sandbox"]

_RETRY: Final = RetryPolicy(initial=0.01, maximum=0.1, settle=0.2)
_TIMEOUT: Final = Timeout(read=2.0, total=30.0)
_GAP: Final = 0.001
"""Seconds between two looks at a process."""


class Customer:
    """The customer, who has received a payment link.

    What can't happen, like paying a cancelled link, raises `SandboxError`.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def opens(self, payment_link_ref: str) -> None:
        """Open the payment page."""
        self._sandbox.click(payment_link_ref)

    def pays(self, payment_link_ref: str) -> None:
        """Pay: a sale, or an authorization where one was asked for."""
        self._sandbox.pay(payment_link_ref)

    def is_declined(self, payment_link_ref: str) -> None:
        """Try to pay, and be declined by the bank."""
        self._sandbox.decline(payment_link_ref)

    def is_reviewed(self, payment_link_ref: str) -> None:
        """Pay, and be held for review; `pays` or `is_declined` ends it."""
        self._sandbox.review(payment_link_ref)


class SandboxFixture:
    """A sandbox for one test, served on this machine by a thread: the fixture `chat2pay_sandbox`.

    Attributes:
        sandbox: The sandbox itself, for all that is not here: `expire`, `decline_capture`, ….
        customer: The customer: `customer.pays(link.payment_link_ref)`.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.customer: Customer = Customer(sandbox)

    def __repr__(self) -> str:
        return f"SandboxFixture(url={self.url!r})"

    @property
    def url(self) -> str:
        """The base URL."""
        return self.sandbox.url

    @property
    def api_key(self) -> str:
        """The only key that opens it."""
        return self.sandbox.api_key

    @property
    def ledger(self) -> Ledger:
        """The effects that really took place until now, each as often as it did."""
        return self.sandbox.ledger

    @property
    def callbacks(self) -> Callbacks:
        """The callbacks, which the service posts of its own accord: `callbacks.send_to(url)`, …."""
        return self.sandbox.callbacks

    def client(self, **settings: Any) -> AsyncChat2Pay:
        """Make a client of the sandbox, to be closed by the test.

        Unlike a client that the code under test makes, it is in a hurry: what was lost is looked up
        for 2 seconds instead of 40.

        Args:
            **settings: Settings of `AsyncChat2Pay`, which come first.
        """
        usual: dict[str, Any] = {
            "api_key": self.api_key,
            "base_url": self.url,
            "retry": _RETRY,
            "timeout": _TIMEOUT,
        }
        return AsyncChat2Pay(**(usual | settings))

    def faults(
        self,
        plan: FaultPlan | str | None = None,
        /,
        **next_requests: Iterable[FaultKind | InjectedFault | None],
    ) -> None:
        """Let things go wrong: by a plan, or exactly as a test says.

            chat2pay_sandbox.faults(create_payment_link=["drop_after", None, "throttle"])
            chat2pay_sandbox.faults("harsh")
            chat2pay_sandbox.faults()  # nothing goes wrong any more

        Args:
            plan: A `FaultPlan`, or a preset's name, for all requests from now on.
            **next_requests: For each operation the faults of its next requests; None is for one
                that goes well.

        Raises:
            SandboxError: There is no such preset, fault or operation.
        """
        if plan is not None or not next_requests:
            self.sandbox.set_faults(plan)
        for operation, faults in next_requests.items():
            self.sandbox.next_faults(operation, faults)

    def killed(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        within: float = 1.0,
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a process of yours, and kill it with SIGKILL at a random moment.

        The moment lies after its first request to the sandbox. CHAT2PAY_BASE_URL and
        CHAT2PAY_API_KEY lead it there. From an async test, call this in a thread, or the test's
        loop waits.

        Args:
            command: The program and its arguments: `[sys.executable, "worker.py"]`.
            within: The most seconds from the first request to the end.
            timeout: The most seconds that the first request may take.
            env: Variables of the environment, added to this process's own.
            cwd: Its folder. Default: this process's own.

        Returns:
            Its exit code, and in `stdout` all that it printed. `-SIGKILL` says that it was killed;
            a process may also have come to its end before.

        Raises:
            TimeoutError: It made no request, and did not end. It was killed.
        """
        before, patience = self._requests(), time.monotonic() + timeout
        with tempfile.TemporaryFile() as printed:  # no pipe, which its children would keep open
            process = subprocess.Popen(  # noqa: S603 - the test's own
                command,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )
            try:
                while process.poll() is None and self._requests() == before:
                    if time.monotonic() > patience:
                        raise TimeoutError(f"the process made no request in {timeout:g} s")
                    time.sleep(_GAP)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(random.uniform(0, within))  # noqa: S311 - it is no secret
            finally:
                process.kill()
                process.wait()
            printed.seek(0)
            text = printed.read().decode(errors="replace")
        return subprocess.CompletedProcess(process.args, process.returncode, text)

    def _requests(self) -> int:
        ledger = self.ledger
        return ledger.answered() + ledger.faulted()
