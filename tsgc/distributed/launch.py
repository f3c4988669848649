"""Starting N ranks of one command under torchrun's elastic launcher; their failure in one line."""

import atexit
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from pipelines.errors import TsgcError
from pipelines.files import write_atomic
from pipelines.interrupts import (
    SIGNALS,
    Interrupted,
    catchable,
    is_ending,
    leave_terminal,
    own_handlers,
    patient_end,
)
from tsgc.distributed.preemption import PreemptedError
from tsgc.distributed.process import CommonError, LostRankError, pick_device

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

RENDEZVOUS = ("PET_NNODES", "PET_RDZV_ENDPOINT")
"""torchrun's own variables; where they are set, these ranks are some of several machines'."""

AFTER_ANOTHER = (LostRankError.__name__, Interrupted.__name__, PreemptedError.__name__)
"""The errors of ranks that ended as another one did, or as they were asked to."""

TO_SAVE = 300  # seconds that ranks have to save after a signal; torchrun's own 30 are less than some steps


def launch(processes: int, arguments: Sequence[str], device: str | None) -> None:
    """Run `python -m tsgc ARGUMENTS` as `processes` ranks of this machine.

    torchrun reads its options from PET_* variables too: PET_MAX_RESTARTS=3 restarts lost ranks, PET_NNODES
    and PET_RDZV_ENDPOINT join several machines. Raises TsgcError with the message of the rank that failed
    first, PreemptedError where the ranks were asked to stop.
    """
    from torch.distributed.run import parse_args, run

    check_gpus(processes, device)
    alone = not any(name in os.environ for name in RENDEZVOUS)
    if not alone:
        # With a store that is shared over restarts, a machine that replaces a lost one waits in vain for the
        # address of rank 0 (seen with torch 2.14). Without, rank 0 opens one on a port that was free when the
        # launcher looked, and may be taken seconds later.
        os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    for name in ("torch.distributed.elastic", "torch.distributed.run"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the failed rank's message is raised below
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(TO_SAVE))
    heard = [
        number.name for number in (*SIGNALS, signal.SIGQUIT) if catchable(number)
    ]  # nohup's SIGHUP is not
    os.environ.setdefault("PET_SIGNALS_TO_HANDLE", ",".join(heard))
    options = [
        *(["--standalone"] if alone else []),
        f"--nproc-per-node={processes}",
        "-m",
        "--",  # or torchrun takes our --log for the beginning of several of its own
        "tsgc",
        *arguments,
    ]
    patient_end()
    logs = os.environ.get("PET_LOG_DIR")
    with TemporaryDirectory(prefix="tsgc-") if logs is None else nullcontext(logs) as folder:
        _run_ranks(run, parse_args([f"--log-dir={folder}", *options]), Path(folder), processes)


def _run_ranks(run: Callable[[Any], None], options: Any, logs: Path, processes: int) -> None:
    """torchrun's `run`, whose errors become ours; `logs`: where ranks leave what became of them."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    before = set(logs.glob("*"))  # of other launchers, where PET_LOG_DIR names a folder
    try:
        with own_handlers():
            try:
                run(options)
            except SignalException as stopped:
                is_ending(stopped.sigval, time.monotonic())
                raise
    except SignalException as stopped:
        leave_terminal()
        raise _stopped(stopped.sigval, _words_of_ranks(set(logs.glob("*")) - before)) from None
    except ChildFailedError as error:
        rank, failure = min(error.failures.items(), key=lambda item: (_follows(item[1]), item[1].timestamp))
        recorded = _recorded(failure)
        kind = ""
        if recorded is not None:
            kind, _, said = recorded["message"].partition(": ")  # after the name of the exception's class
        elif failure.exitcode < 0:
            said = f"killed by {signal.Signals(-failure.exitcode).name}; was memory short?"
            said += " Training goes on from the last checkpoint with --resume"
        else:
            said = f"stopped with exit code {failure.exitcode}; what it printed is above"
        if PreemptedError.__name__ == kind:
            raise PreemptedError(said) from None
        if kind == CommonError.__name__:
            raise TsgcError(said) from None
        raise TsgcError(f"process {rank} of {processes}: {said}") from None


def check_gpus(processes: int, device: str | None) -> None:
    """Raise TsgcError where there are fewer GPUs than `processes`, unless they are to run on the CPU."""
    if device is not None and pick_device(device).type == "cpu":
        return
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found == 0:
        raise TsgcError(
            f"--gpus {processes}: torch finds no GPU here; leave the option out for one process on the CPU,"
            f" or give --device cpu for {processes}"
        )
    if processes > found:
        raise TsgcError(f"--gpus {processes}: {found} GPU found; give fewer, or --device cpu")


def _recorded(failure: "ProcessFailure") -> dict[str, Any] | None:
    """The rank's error that `record_failure` wrote, if it did."""
    said = failure.error_file_data.get("message") if failure.error_file_data else None
    return said if isinstance(said, dict) else None


def _follows(failure: "ProcessFailure") -> bool:
    """Whether a rank ended because another one had: it lost that one, or the launcher ended it.

    Times alone do not tell which rank failed first, as they are whole seconds.
    """
    said = _recorded(failure)
    if said is None:
        return failure.exitcode == -signal.SIGTERM
    return str(said["message"]).startswith(AFTER_ANOTHER)


def _words_of_ranks(logs: Iterable[Path]) -> dict[str, str]:
    """What the ranks that a signal ended have written: the name of the error's class -> its text."""
    found = {}
    for path in (path for folder in logs for path in folder.rglob("error.json")):
        said = json.loads(path.read_bytes())["message"]
        kind, _, words = str(said["message"] if isinstance(said, dict) else said).partition(": ")
        found[kind] = words
    return found


def _stopped(number: signal.Signals, words: Mapping[str, str]) -> BaseException:
    """The error for a signal to the launcher itself, which has passed it on to the ranks."""
    if said := words.get(PreemptedError.__name__):
        atexit.register(_leave, PreemptedError.exit_code)
        return PreemptedError(said)
    if Interrupted.__name__ in words:  # no text of its own: the command's name is said where it ends
        return _ended(Interrupted(words[Interrupted.__name__], number))
    said = f"stopped by {number.name}; the same command with --resume goes on from the last checkpoint"
    if number != signal.SIGTERM:
        return _ended(Interrupted(said, number))
    atexit.register(_leave, PreemptedError.exit_code)
    return PreemptedError(said)


def _ended(stopped: Interrupted) -> Interrupted:
    atexit.register(_leave, stopped.exit_code)
    return stopped


def _leave(code: int) -> None:
    """End this process immediately, with this exit code.

    A thread of the launcher's store can abort an ordinary exit (seen with torch 2.14), and a batch system
    would then read another code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def record_failure(error: BaseException) -> None:
    """Write a failed rank's error where the launcher finds it, whole or not at all.

    The launcher may end this process while it writes, and torchrun gives up on a file that it cannot read.
    The fields are those that torch itself writes, in place.
    """
    said = {
        "message": f"{type(error).__name__}: {error}",
        "extraInfo": {"py_callstack": traceback.format_exc(), "timestamp": str(int(time.time()))},
    }
    with suppress(TsgcError):  # the error itself is what has to be heard
        write_atomic(Path(os.environ["TORCHELASTIC_ERROR_FILE"]), json.dumps({"message": said}).encode())
