"""The errors that the sandbox raises for those who play the customer or the gateway."""

from collections.abc import Generator
from contextlib import contextmanager


class SandboxError(ValueError):
    """An action that cannot happen, like paying a cancelled link; nothing has changed."""


class UnknownReferenceError(SandboxError, LookupError):
    """A payment link, order, receipt or integration that does not exist."""


@contextmanager
def extra_required() -> Generator[None]:
    """Say how to install the packages that the server needs, if they are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'The sandbox needs {error.name}: pip install "chat2pay-async[sandbox]"',
            name=error.name,
        ) from error
