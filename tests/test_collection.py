from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


def collected(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    """Collect a test file under the plugin."""
    pytester.makepyfile(source)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    options = ("-p", "collection", "-p", "no:randomly")
    return pytester.runpytest_inprocess("--collect-only", "-q", *options)


def test_a_test_with_the_marks_of_two_frameworks_is_refused(pytester: pytest.Pytester) -> None:
    source = "import pytest\npytestmark = pytest.mark.anyio\n\n"
    source += "@pytest.mark.asyncio\nasync def test_it():\n    pass\n"
    result = collected(pytester, source)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*::test_it*: marked both anyio and asyncio; choose one")


@pytest.mark.parametrize("mark", ["anyio", "asyncio"])
def test_a_test_with_the_mark_of_one_framework_is_collected(
    pytester: pytest.Pytester, mark: str
) -> None:
    source = f"import pytest\n\n@pytest.mark.{mark}\nasync def test_it():\n    pass\n"
    assert collected(pytester, source).ret == pytest.ExitCode.OK


def test_an_id_that_shows_an_address_is_refused(pytester: pytest.Pytester) -> None:
    source = "import pytest\n\n@pytest.mark.parametrize('one', [object()], ids=repr)\n"
    result = collected(pytester, source + "def test_it(one):\n    pass\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*an id shows an object's address; pass ids=")


def test_parameters_have_short_names(pytester: pytest.Pytester) -> None:
    source = (
        "import attrs, pytest\n\n@attrs.frozen\nclass Named:\n    name: str = 'its name'\n\n"
        "@attrs.frozen\nclass Nameless:\n    size: int = 1\n\n"
        "@pytest.mark.parametrize('one', [Named(), Nameless(), Nameless(2), 'x' * 50, 7, len])\n"
        "def test_it(one):\n    pass\n"
    )
    result = collected(pytester, source)
    names = [line.partition("[")[2] for line in result.outlines if "::" in line]
    assert names == ["its name]", "Nameless0]", "Nameless1]", "x" * 40 + "]", "7]", "len]"]
