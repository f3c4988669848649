"""What several test files use."""

import os
import signal
from pathlib import Path
from unittest import mock

# One thread a worker: with several on few cores they wait for each other. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# In the background of a script pytest is told to ignore Ctrl-C, and so would be what tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels' own code without a GPU; read at Triton's import

from made.every_module import every_module, is_whole, loaded_modules
from made.once import once, only_read
from made.runs import make_runs
from made.shard_sets import make_data
from made.teachers import ucla_builder

from tsgc import live

os.environ.pop("TSGC_DATA", None)  # whoever runs the tests may have clips and runs of their own there
os.environ.pop("TSGC_RUNS", None)

# Machines are slow at times, which is no fault of the code. `make test-slow` takes the second profile: with
# other examples each time, of which many may be no case of the test; the first tells where most are none.
SLOW, UNLUCKY = [HealthCheck.too_slow], [HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile(
    "quick", max_examples=40, derandomize=True, deadline=None, suppress_health_check=SLOW
)
settings.register_profile(
    "thorough", max_examples=300, deadline=None, suppress_health_check=[*SLOW, *UNLUCKY]
)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def by_itself():
    """Which tests a worker had before does not matter: to what torch draws, and to the environment."""
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False  # as trainings in float32 have it; torch's own default is TF32
    with mock.patch.dict(os.environ):  # a launcher sets variables for its ranks
        yield


@pytest.fixture(scope="session", autouse=True)
def no_line_of_progress():
    """Commands in one process count 15 s together: a line between them would depend on the machine alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "PLAIN_SECONDS", 3600)
        yield


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
    return tmp_path


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A data root with prepared and sharded made clips, to be read."""
    yield from only_read(once(tmp_path_factory, "made", make_data))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with the raw, prepared and sharded `data` and the `runs` of tiny trainings, to be read."""
    yield from only_read(once(tmp_path_factory, "trained", make_runs))


@pytest.fixture
def ucla(trained, tmp_path):
    """Builds a training that has not begun, of NW-UCLA's made clips."""
    return ucla_builder(trained / "data", tmp_path)


LOADED: set[str] = set()
"""Modules that a worker of pytest-xdist had loaded when it ended."""


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    LOADED.update(getattr(node, "workeroutput", {}).get("loaded", ()))


def pytest_sessionfinish(session):
    """Fails a whole run that left modules of the project alone, and names them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["loaded"] = sorted(loaded_modules())
        return
    LOADED.update(loaded_modules())
    left = sorted(every_module() - LOADED)
    if left and is_whole(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.config.pluginmanager.get_plugin("terminalreporter").write_line(
            f"no test loaded {', '.join(left)}; `make test` has to have one of each module", red=True
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
