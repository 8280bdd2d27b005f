"""A program of the documents, run as somebody does who has pasted it into a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import chat2pay_async
from chat2pay_async.sandbox import Sandbox

__all__ = ["run_as_file"]


def run_as_file(source: str, sandbox: Sandbox, folder: Path) -> str:
    """Run a program in a process of its own; return what it printed."""
    program = folder / "pasted.py"
    program.write_text(source, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", program.name],
        cwd=folder,
        env={
            "CHAT2PAY_API_KEY": sandbox.api_key,
            "CHAT2PAY_BASE_URL": sandbox.url,
            "PYTHONPATH": str(Path(chat2pay_async.__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout
