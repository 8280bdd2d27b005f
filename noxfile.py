"""What can be run here: `nox -l` lists it. Each session does all of its own set-up."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
WITHOUT_GIL = "3.14t"
GROUPS = nox.project.load_toml("pyproject.toml")


def _group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(GROUPS, name))


def _lint(session: nox.Session) -> None:
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("uv", "lock", "--check", "--offline")
    session.run("zizmor", "--offline", "--quiet", ".github")


def _types(session: nox.Session) -> None:
    session.run("mypy")
    quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    session.run("pyright", env=quiet)
    session.run("pyright", "--verifytypes", "chat2pay_async", "--ignoreexternal", env=quiet)


def _activate_pyenv() -> None:
    """Let pyenv's shims answer for every interpreter it has, not for the active one alone."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [
        path.name
        for version in PYTHONS
        for path in sorted((root / "versions").glob(f"{version}.*"))[-1:]
    ]
    if found and shutil.which("pyenv"):
        os.environ["PYENV_VERSION"] = ":".join(found)


_activate_pyenv()
INSTALLED = [python for python in PYTHONS if shutil.which(f"python{python}")]
# Where tests wait for sockets and processes, others go on: three for two cores.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
AT_ONCE = ("-n", f"{(3 * CORES + 1) // 2}", "--dist", "worksteal")
QUICK = (*AT_ONCE, "--ignore", "tests/acceptance")
SMOKE = ("-I", "-W", "error", "tests/support/smoke.py")
PYTEST = ("-I", "-m", "pytest")  # isolated: it imports what is installed, not the checkout
# What leans on the dependencies: what responses prove, what calls do, what the journal keeps.
LEANING = ("tests/api", "tests/send", "tests/journal", "tests/test_client.py")


@nox.session
def tests(session: nox.Session) -> None:
    """The suite with every branch covered, lint and types, on the interpreter that runs nox."""
    session.install(".[all]", *_group("tests"), *_group("lint"), *_group("types"))
    env = {"COVERAGE_FILE": str(Path(session.create_tmp()) / "coverage")}
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", "pytest", *QUICK, *session.posargs, env=env)
    session.run("coverage", "combine", "--quiet", env=env)
    session.run("coverage", "report", env=env)
    _lint(session)
    _types(session)


@nox.session(reuse_venv=True)
def unit(session: nox.Session) -> None:
    """One wing, in seconds: `nox -s unit -- tests/send`."""
    session.install("-e", ".[all]", *_group("tests"))
    session.run("pytest", *AT_ONCE, *session.posargs)


@nox.session(python=False)
def matrix(session: nox.Session) -> None:
    """All that takes long: every interpreter, transport, loop and order, and the acceptance."""
    suites = (f"suite-{python}" for python in INSTALLED)
    for name in (
        *suites,
        "fast",
        "httpx2",
        "thorough",
        "contract",
        "acceptance",
        "docs",
        "package",
    ):
        session.notify(name)
    for python in PYTHONS:
        if python not in INSTALLED:
            session.warn(f"suite-{python} is skipped: there is no python{python} here")


@nox.session(python=INSTALLED)
def suite(session: nox.Session) -> None:
    """The suite in random order, on each interpreter."""
    session.install(".[all]", *_group("tests"))
    session.run("pytest", *QUICK, "-p", "randomly", *session.posargs)


@nox.session
def fast(session: nox.Session) -> None:
    """The suite over the fast transport, on uvloop, too."""
    session.install(".[all]", *_group("tests"))
    session.run("pytest", *QUICK, "--transport=fast", "--uvloop", "-rfE", *session.posargs)


@nox.session
def httpx2(session: nox.Session) -> None:
    """The suite with httpx2 in httpx's place."""
    session.install(".[all]", *_group("tests"))
    session.run("pytest", *QUICK, "--httpx2", "-rfE", *session.posargs)


@nox.session
def thorough(session: nox.Session) -> None:
    """The suite on every event loop, with many more examples for its properties."""
    session.install(".[all]", *_group("tests"))
    thoroughly = ("--all-loops", "--hypothesis-profile=thorough")
    session.run("pytest", *QUICK, *thoroughly, *session.posargs)


@nox.session
def acceptance(session: nox.Session) -> None:
    """Thousands of calls that go wrong, runs that are killed, the demo: judged by the ledger.

    `nox -s acceptance -- -k killed --scale=4 --seed=1 -rP --show-capture=stdout` makes four times
    as many calls, by another seed, and shows the figures.
    """
    session.install(".[all]", *_group("tests"))
    session.run("pytest", *AT_ONCE, "tests/acceptance", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the reading of responses and callbacks; `nox -s fuzz -- -runs=1000000` takes hours."""
    session.install(".[all]", *_group("tests"), "atheris>=3")
    env = {"PYTHONPATH": "tests/support"}
    for target in ("responses", "callbacks"):
        runs = session.posargs or ["-runs=20000"]
        session.run("python", f"tests/fuzz/{target}.py", *runs, env=env)


@nox.session
def contract(session: nox.Session) -> None:
    """Try the published contract, and the sandbox's own, on the sandbox: `-- 1000` takes longer."""
    session.install(".[all]", "schemathesis>=4")
    session.run("python", "tests/fuzz/contract.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, with every rule on; and whether uv.lock is what pyproject.toml asks for."""
    session.install(*_group("lint"))
    _lint(session)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy (strict) over everything, pyright (strict) over the package and its users' view."""
    session.install(".[all]", *_group("types"))
    _types(session)


@nox.session
def demo(session: nox.Session) -> None:
    """A campaign of 1 000 links from a CSV file, paid and captured, on the embedded sandbox."""
    session.install(".[sandbox,cli]")
    session.run("python", "benchmarks/demo.py", *session.posargs)


@nox.session
def bulk(session: nox.Session) -> None:
    """What a journal costs, and how much memory a run of a million items needs (takes long)."""
    session.install(".[cli]", "uvloop>=0.21; platform_system != 'Windows'")
    session.run("python", "benchmarks/journal.py", *session.posargs)
    session.run("python", "benchmarks/memory.py")


@nox.session
def flat(session: nox.Session) -> None:
    """Whether a campaign of a million links is as fast at its end as at its beginning (long)."""
    session.install(".", "httptools>=0.6", "uvloop>=0.21")
    session.run("python", "benchmarks/flat.py", *session.posargs)


@nox.session
def sandbox(session: nox.Session) -> None:
    """Creates a second of the sandbox, beside a bare Starlette application, and its memory."""
    session.install(".[sandbox]", "httptools>=0.6", "uvloop>=0.21")
    session.run("python", "benchmarks/sandbox.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The same call by this SDK, by bare HTTP libraries and by other SDKs, side by side."""
    session.install(".[cli,http2,trio]", *_group("peers"))
    session.run("python", "benchmarks/bench.py", *session.posargs)


@nox.session
def cost(session: nox.Session) -> None:
    """Instructions that a call, a row and the import take, against a budget (needs valgrind)."""
    session.install(".")
    session.run("python", "benchmarks/cost.py", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """What is released, in dist/: built, checked, tried with the lowest versions and the newest."""
    session.install(*_group("package"))
    shutil.rmtree("dist", ignore_errors=True)
    session.run("uv", "build", "--quiet", "--out-dir", "dist")  # the wheel: out of the sdist
    (wheel,), (sdist,) = Path("dist").glob("*.whl"), Path("dist").glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.run("check-wheel-contents", str(wheel))
    core, lowest = _try_package(session, wheel, "lowest-direct")
    _, newest = _try_package(session, wheel, "highest")
    _list_components(session, wheel, newest)
    without_gil = shutil.which(f"python{WITHOUT_GIL}")
    if without_gil is None:
        session.warn(f"not tried without the GIL: there is no python{WITHOUT_GIL} here")
    else:
        python = _environment(session, "without-gil", str(wheel), python=without_gil)
        session.run(python, *SMOKE, "core", external=True, env={"PYTHON_GIL": "0"})
    # What the tests need must not bring newer ones along.
    frozen = str(session.run("uv", "pip", "freeze", "--python", core, silent=True))
    floors = Path(session.create_tmp()) / "floors.txt"
    floors.write_text("\n".join(line for line in frozen.splitlines() if "==" in line), "utf-8")
    tests = ("--constraint", str(floors), *_group("tests"))
    session.run("uv", "pip", "install", "--quiet", "--python", lowest, *tests)
    session.run(lowest, *PYTEST, *AT_ONCE, *LEANING, *session.posargs, external=True)


def _environment(session: nox.Session, name: str, *what: str, python: str = sys.executable) -> str:
    """Make an environment that has this and nothing else; return its interpreter."""
    folder = Path(session.create_tmp()) / name
    session.run("uv", "venv", "--quiet", "--clear", "--python", python, str(folder))
    interpreter = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.run("uv", "pip", "install", "--quiet", "--python", interpreter, *what)
    return interpreter


def _try_package(session: nox.Session, wheel: Path, resolution: str) -> tuple[str, str]:
    """Use the wheel alone, then with every extra; return the interpreters of both."""
    # To uv a wheel's requirements are no direct ones; those of pyproject.toml are the same.
    asked = (str(wheel), "--requirements", "pyproject.toml", "--resolution", resolution)
    core = _environment(session, f"{resolution}-core", *asked)
    session.run(core, *SMOKE, "core", external=True)
    with_extras = _environment(session, f"{resolution}-all", *asked, "--all-extras")
    session.run(with_extras, *SMOKE, "all", external=True)
    return core, with_extras


def _list_components(session: nox.Session, wheel: Path, python: str) -> None:
    """Write the bill of materials: what an installation with every extra brings along."""
    version = wheel.name.split("-")[1]
    project = Path(session.create_tmp()) / "pyproject.toml"
    text = Path("pyproject.toml").read_text("utf-8")
    project.write_text(text.replace('dynamic = ["version"]', f'version = "{version}"'), "utf-8")
    made = ("environment", "--pyproject", str(project), "--mc-type", "library", python)
    sbom = f"dist/chat2pay_async-{version}.cdx.json"
    session.run("cyclonedx-py", *made, "--output-reproducible", "--output-file", sbom)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs-html/: open docs-html/index.html."""
    session.install("-e", ".[all]", *_group("docs"))
    session.run("python", "docs/_sphinx/tables.py")
    build = ("python", "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet")
    doctrees = ("--doctree-dir", str(Path(session.create_tmp()) / "doctrees"))
    session.run(*build, *doctrees, "docs", "docs-html")
    session.run(*build, *doctrees, "--builder", "text", "docs", "docs-html/_text")
    session.run("python", "docs/_sphinx/llms.py", "docs-html")
