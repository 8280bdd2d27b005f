"""What the sandbox raises for those who play the customer or the gateway."""

from collections.abc import Generator
from contextlib import contextmanager


class SandboxError(ValueError):
    """What was asked for cannot happen, like paying a cancelled link; nothing has changed."""


class UnknownReferenceError(SandboxError, LookupError):
    """There is no such payment link, order, receipt or integration."""


@contextmanager
def extra_required() -> Generator[None]:
    """Say how to install what the sandbox's server side needs, where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'The sandbox needs {error.name}: pip install "chat2pay-async[sandbox]"',
            name=error.name,
        ) from error
