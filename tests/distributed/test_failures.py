"""What a failed rank leaves for its launcher, which may end it at any moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

RANK = """
import os, signal
from pipelines.errors import TsgcError
from tsgc.distributed.launch import record_failure
{before}
try:
    raise TsgcError("clip a: \\u00e9 damaged")
except TsgcError as error:
    record_failure(error)
"""
ENDED = "os.fsync = lambda file: os.kill(os.getpid(), signal.SIGTERM)"  # its bytes are written, not its name


def rank(path: Path, before: str = "") -> ProcessFailure:
    """The failure of a rank that has recorded it, as torchrun reads it."""
    variables = {**os.environ, "TORCHELASTIC_ERROR_FILE": str(path)}
    done = subprocess.run([sys.executable, "-c", RANK.format(before=before)], env=variables, check=False)
    return ProcessFailure(0, 1, done.returncode or 1, str(path))


def test_torchrun_reads_what_a_rank_recorded(tmp_path):
    found = rank(tmp_path / "attempt_0/0/error.json")
    assert found.message["message"] == "TsgcError: clip a: é damaged"
    assert "Traceback" in found.message["extraInfo"]["py_callstack"] and found.timestamp > 1.7e9


def test_a_rank_ended_while_it_records_leaves_no_half_file(tmp_path):
    found = rank(tmp_path / "error.json", before=ENDED)
    assert found.exitcode == -signal.SIGTERM and "SIGTERM" in found.message
    assert not (tmp_path / "error.json").exists()


def test_a_record_that_cannot_be_written_hides_no_error(tmp_path):
    (tmp_path / "file").touch()
    found = rank(tmp_path / "file/error.json")
    assert found.exitcode == 1 and found.error_file == "<N/A>"
