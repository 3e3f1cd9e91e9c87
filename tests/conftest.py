"""Rules for every test: no silent skip, fixed dice, and one switch for the long counts."""

import os
from collections.abc import Generator

import hypothesis
import pytest

EXAMPLES_SHORT = 60
EXAMPLES_LONG = 3000

# Derandomized: a run is the same on every machine, and what fails here fails there.
for name, examples in (("short", EXAMPLES_SHORT), ("long", EXAMPLES_LONG)):
    hypothesis.settings.register_profile(
        name,
        max_examples=examples,
        derandomize=True,
        deadline=None,  # a slow machine is no fault of the code
        database=None,
        print_blob=True,
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer ``--long``, the same as POC24_LONG=1."""
    parser.addoption(
        "--long", action="store_true", help="long counts: more examples, and tests marked long"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the counts once, for hypothesis and for tests that read POC24_LONG themselves."""
    if config.getoption("--long"):
        os.environ["POC24_LONG"] = "1"
    hypothesis.settings.load_profile("long" if _long() else "short")


def _long() -> bool:
    return os.environ.get("POC24_LONG") == "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests marked long to the long run; the closing line counts them as deselected."""
    if _long():
        return
    late = [item for item in items if item.get_closest_marker("long")]
    if late:
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=late)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure: a part that is missing is an error that somebody must see."""
    report = yield
    expected = hasattr(report, "wasxfail") or item.get_closest_marker("may_skip")
    if report.skipped and not expected:
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and a skip proves nothing. Install what it needs, "
            f"or mark it may_skip(reason) if no machine must run it. ({report.longrepr})"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skip of a whole file into a failure, for the same reason."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} skips itself, and a skip proves nothing."
    return report
