"""Cases of a parametrised test that only `make test-slow` runs."""

from typing import Any

import pytest
from _pytest.mark import ParameterSet


def slowly(*cases: Any) -> list[ParameterSet]:
    """Each case (a tuple where a test has several parameters) with the mark `slow`."""
    values = (case if isinstance(case, tuple) else (case,) for case in cases)
    return [pytest.param(*case, marks=pytest.mark.slow) for case in values]
