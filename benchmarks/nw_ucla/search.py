"""Runs a list of trainings, several at a time on one device, each result a line of a JSONL file."""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from nw_ucla.plan import Spec
from nw_ucla.trial import Trial
from pipelines.errors import TsgcError, first_line
from tsgc.side_by_side.turns import MayWait, Over, Turns

Make = Callable[[Spec], Trial]
SAFETY = 1.05  # over the time that a training is expected to take, before it is started


def read_results(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file; none where there is no file. A line that was cut off is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # killed while writing; its trial is not done
    return found


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Append a line in one write: several processes may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (json.dumps(line) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def to_do(
    specs: Sequence[Spec], done: Sequence[dict[str, Any]], share: tuple[int, int], retry: bool = False
) -> list[Spec]:
    """Trainings without a line yet, of every N-th from the I-th on for the share (I, N).

    The planned ones are dealt, whatever is done, so that no two processes that start at different times do
    the same. With `retry` those that failed are done again. Where weights that are to be kept are gone, they
    are trained again.
    """
    keys = {line["key"] for line in done if line["status"] == "ok" or not retry}
    first = {spec.key: spec for spec in reversed(specs)}
    own = [first[key] for key in dict.fromkeys(spec.key for spec in specs)][share[0] :: share[1]]
    gone = {spec.key for spec in own if spec.save is not None and not spec.save.is_file()}
    return [spec for spec in own if spec.key not in keys - gone]


def share_lines(specs: Sequence[Spec], path: Path) -> None:
    """Give a training that an earlier trial of the plan has done its line under its own name, too."""
    lines = [line for line in read_results(path) if line["status"] == "ok"]
    done = {line["key"]: line for line in reversed(lines)}
    named = {(line["key"], line["name"]) for line in lines}
    for spec in specs:
        if spec.key in done and (spec.key, spec.name) not in named:
            append_line(path, {**done[spec.key], "name": spec.name, "set": spec.settings})


def without_teachers(planned: dict[str, Spec], failed: set[str]) -> set[str]:
    """Keys of the `planned` trainings, by key, that cannot start, as a teacher, or a teacher's, has failed.

    A teacher whose weights are there teaches, whatever became of it or of its own teachers since.
    """
    lost: set[str] = set()
    more = True
    while more:  # students may stand before their teachers (`rounds`); this ends, as `lost` only grows
        found = {
            key
            for key, spec in planned.items()
            if any(teacher in failed or teacher in lost for teacher in spec.missing_teachers)
        }
        more = found != lost
        lost = found
    return lost


class Search:
    """Trainings side by side on one device, as `tsgc train` does several (`Turns`).

    Students start when their teachers are trained: in this process, or in another one where `shared`.
    """

    def __init__(
        self,
        make: Make,
        device: torch.device,
        concurrent: int,
        say: Callable[[str], None] = print,
        shared: bool = False,
    ) -> None:
        self.make, self.device, self.concurrent, self.say = make, device, concurrent, say
        self.shared = shared
        self.turns: Turns[str, dict[str, Any]] = Turns(device)
        self.running: dict[str, Spec] = {}
        self.trials: dict[str, Trial] = {}
        """Running trainings that are built."""
        self.speed = 0.0
        """Clips a second of all trainings together, lately; a visit counts as what it costs (`Spec.cost`)."""
        self._past = 0.0

    def run(
        self,
        specs: Sequence[Spec],
        out: Path,
        seconds: float,
        plan: Sequence[Spec] = (),
    ) -> int:
        """Run trainings of `specs` for at most `seconds`; returns how many were left undone.

        `plan`: what all processes that share the search do, `specs` included; their teachers are among these.
        A training is not started where it could not end in time at the speed seen; those that run when
        time is up are given up, and done again by another call.
        """
        start = time.perf_counter()
        queue = deque(specs)
        planned = {spec.key: spec for spec in (*plan, *specs)}
        clips, since = self._clips, start
        while queue or self.turns:
            now = time.perf_counter()
            if now - since > 5:
                if self._clips > clips:  # not while it waits for teachers
                    self.speed = (self._clips - clips) / (now - since)
                clips, since = self._clips, now
            if now - start > seconds:
                break
            ready = True
            while queue and len(self.turns) < self.concurrent:
                spec = next((spec for spec in queue if spec.ready), queue[0])
                # Lately may have been a look at the clips that judge, in which no clip is visited.
                rate = max(self.speed, self._clips / max(now - start, 1e-9)) / (len(self.turns) + 1)
                if rate and (now - start) + SAFETY * spec.work / rate > seconds:
                    break  # asked again when the others are done, and there is more speed for it
                ready = spec.ready
                if not ready:
                    break
                queue.remove(spec)
                self.running[spec.key] = spec
                self.turns.start(spec.key, self._train(spec, out))
            if not self.turns:
                if ready or not self.shared or self._teachers_failed(queue, planned, out):
                    break
                time.sleep(1)
            for over in self.turns.round():
                self._end(over, out)
        left = len(queue) + len(self.turns)
        self.turns.close()
        self.running.clear()
        self.trials.clear()
        if waiting := sum(not spec.ready for spec in queue):
            self.say(f"{waiting} wait for their teachers, which are not trained yet: call again")
        return left

    @property
    def _clips(self) -> float:
        """Visits to clips so far, each counted as what it costs."""
        return self._past + sum(trial.worked for trial in self.trials.values())

    @staticmethod
    def _teachers_failed(queue: Sequence[Spec], planned: dict[str, Spec], out: Path) -> bool:
        """Whether no waiting training can start any more."""
        last = {line["key"]: line["status"] for line in read_results(out)}  # done again, it may be ok
        lost = without_teachers(planned, {key for key, status in last.items() if status != "ok"})
        return all(spec.key in lost for spec in queue)

    def _train(self, spec: Spec, out: Path) -> Generator[MayWait, None, dict[str, Any]]:
        """A training, and its line when it is over."""
        trial = self.trials[spec.key] = self.make(spec)
        try:
            yield from trial.steps()
            line = {**result(trial, len(self.turns), self.device), **trial.last_look()}
            append_line(out, line)
            trial.save()
            return line
        finally:
            trial.close()

    def _end(self, over: Over[str, dict[str, Any]], out: Path) -> None:
        """Tell what a training has come to, and write the line of one that failed."""
        spec, trial = self.running.pop(over.key), self.trials.pop(over.key, None)
        self._past += trial.worked if trial else 0.0
        if over.result is not None:
            self.say(told(over.result))
            return
        if not isinstance(over.error, TsgcError | RuntimeError):
            raise over.error or AssertionError(over)
        line = {**described(spec), "status": "failed", "error": first_line(over.error, 300)}
        append_line(out, {**line, **({"marks": trial.marks} if trial else {})})
        self.say(told(line))


def described(spec: Spec) -> dict[str, Any]:
    config = spec.config
    return {
        "key": spec.key,
        "name": spec.name,
        "set": spec.settings,
        "fold": spec.fold,
        "seed": config.seed,
        "variant": config.network_name,
        "modality": config.modality,
        "epochs": config.epochs,
        **({} if spec.init is None else {"init": str(spec.init)}),
    }


def result(trial: Trial, running: int, device: torch.device) -> dict[str, Any]:
    """The line of a training that is over."""
    seconds = time.perf_counter() - trial.started
    return {
        **described(trial.spec),
        "status": "ok",
        "clips": trial.done,
        "marks": trial.marks,
        **trial.said,
        **({"loaded": trial.started_from} if trial.started_from else {}),
        "seconds": round(seconds, 1),
        "clips_per_second": round((trial.done + trial.pretrained) / seconds),
        "beside": running - 1,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }


def told(line: dict[str, Any]) -> str:
    start = f"{line['name']} {line['fold']} seed {line['seed']}"
    if line["status"] != "ok":
        return f"{start}: {line['error']}"
    last = line["marks"][-1]
    figures = ", ".join(f"{name} {last[name]}" for name in ("loss", "top1", "top1_ema") if name in last)
    return f"{start}: {figures}, {line['seconds']:.0f} s, {line['clips_per_second']:,} clips/s"
