"""What several test files use."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels' own code without a GPU; read at Triton's import

from made.runs import make_runs
from made.shard_sets import make_shards
from made.teachers import ucla_builder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference outputs and real clips; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TSGC_SHARED") or Path(__file__).parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: no reference outputs and real clips to compare with")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with the default ./data and ./runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TSGC_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A data root with prepared and sharded made clips."""
    root = tmp_path_factory.mktemp("made")
    make_shards(root, clips=61)
    (root / "shards/ntu60").mkdir(parents=True)
    (root / "xsub").rename(root / "shards/ntu60/xsub")
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with the raw, prepared and sharded `data` and the `runs` of tiny trainings."""
    return make_runs(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def ucla(trained, tmp_path):
    """Builds a training that has not begun, of NW-UCLA's made clips."""
    return ucla_builder(trained / "data", tmp_path)
