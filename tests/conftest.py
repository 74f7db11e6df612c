"""Shared fixtures: real tables that a user may have, and a cache folder of the test run's own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_table(name: str) -> Path:
    """The path of a real table called `name`, or a skip that says where it was looked for.

    Looked for in the folder LMSEARCHER_SHARED, else in ../shared/data beside the repository.
    """
    folder = Path(os.environ.get("LMSEARCHER_SHARED") or REPOSITORY.parent / "shared" / "data")
    path = folder / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {folder}: set LMSEARCHER_SHARED to the folder of real tables")
    return path


@pytest.fixture(name="shared_table")
def _shared_table():
    return shared_table


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Converted tables of a test run go to a folder of its own, unless LMSEARCHER_CACHE names one."""
    if "LMSEARCHER_CACHE" in os.environ:
        yield
        return
    os.environ["LMSEARCHER_CACHE"] = str(tmp_path_factory.mktemp("tables"))
    yield
    del os.environ["LMSEARCHER_CACHE"]


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Processes started in the background inherit an ignored ^C, and so would the programs that the tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
