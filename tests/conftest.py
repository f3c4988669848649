"""What several test files use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference outputs and real clips; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TSGC_SHARED") or Path(__file__).parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: no reference outputs and real clips to compare with")
    return folder
