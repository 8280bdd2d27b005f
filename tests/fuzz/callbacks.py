"""Fuzzing of the reading of callbacks, guided by coverage: `nox -s fuzz`.

Whatever is posted is a callback with which everything can be done, or a `CallbackError`.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["chat2pay_async._callbacks", "chat2pay_async._api"]):
    from posted import CONFIGURATION, PAYMENT, TRANSACTION, is_usable, posted

EVERY = 100_000
SEEN: Counter[str] = Counter()


def examine(given: bytes) -> None:
    """Examine one input: its first byte says whether it is posted as bytes or as a text.

    Raises:
        AssertionError: It is read as something that can't be used.
    """
    as_text, data = given[:1] > b"\x7f", given[1:]
    body = data.decode("utf-8", "surrogateescape") if as_text else data
    SEEN["callbacks" if is_usable(body) else "refused"] += 1
    SEEN["all"] += 1
    if SEEN["all"] % EVERY == 0:
        print(dict(SEEN), flush=True)


def main() -> None:
    """Fuzz, beginning with one callback of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        known: list[dict[str, Any]] = [PAYMENT, TRANSACTION, CONFIGURATION, {"event": None}]
        for number, fields in enumerate(known):
            for first in (b"\x00", b"\xff"):
                Path(corpus, f"{number}-{first.hex()}").write_bytes(first + posted(fields))
        tokens = Path(folder, "tokens")
        names = [*PAYMENT, *TRANSACTION, *CONFIGURATION, "paymentStatuses", "newPaymentStatus"]
        odd = ("1e999", "NaN", "-Infinity", "\\\\ud800", "\\\\u0000", "[[[[", "{{")
        words = [*(f'\\"{name}\\":' for name in dict.fromkeys(names)), *odd]
        tokens.write_text("".join(f'"{word}"\n' for word in words))
        atheris.Setup([*sys.argv, str(corpus), f"-dict={tokens}", "-max_len=2000"], examine)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
