"""A step captured in CUDA graphs, one for each shape of input: copy the input, replay.

The first steps of a shape run as they are, on the stream that is captured later: they are real steps, and
they leave behind what must exist before a capture (the optimiser's state, libraries' workspaces, compiled
kernels, communicators). Capturing runs nothing.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipelines.errors import TsgcError
from shards.options import LoaderOptions
from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.kernels.tunings import LIBRARY_ROWS
from tsgc.networks import OURS, STEM_STRIDE, VARIANTS
from tsgc.step.micro_batch import MicroBatch

WARM_UP = 3  # steps of a shape before it is captured
MOST_GRAPHS = (
    4  # shapes; where damaged clips are skipped there may be any number, and the rest run as they are
)
PACKED_FROM = 1 << 24  # numbers; see `worth_capturing`

StepFunction = Callable[[Sequence[MicroBatch]], object]
Signature = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]
Key = tuple[int, Signature]
Result = TypeVar("Result")
Check = Callable[[Callable[[], object], Callable[[], object]], bool]
"""Compares a replay with the plain step: whether they agree."""


@dataclass(frozen=True)
class Captured:
    """A graph, and where it reads its input."""

    inputs: Sequence[MicroBatch]
    replay: Callable[[], None]


def worth_capturing(config: TrainConfig, joints: int, bodies: int, world: int) -> bool:
    """True where a captured step is faster than one whose blocks know which rows they keep.

    In float32 and TF32 the library multiplies, and leaves dropped rows out only where the host says how many
    the others are: a graph's shapes are fixed. Without a graph the host launches every kernel, some 10 ms a
    micro-batch. From PACKED_FROM numbers on in an activation of the first stage a micro-batch takes an H100
    17 ms in TF32, 52 in strict float32, and hides that: NTU's 128 clips have 39 M, NW-UCLA's 4 M. In bfloat16
    and float16 the kernels read from the device which rows to leave out; skeletons that the kernels are not
    cut for run plain, which leaves none out.
    """
    leaves_out = (
        config.network == OURS and config.drop_path > 0 and joints <= LIBRARY_ROWS and not config.compile
    )
    if config.arithmetic in ("bf16", "float16") or not leaves_out:
        return True
    clips = math.ceil(config.batch / (math.ceil(config.batch / (config.micro_batch * world)) * world))
    numbers = clips * bodies * (config.frames // STEM_STRIDE) * joints * VARIANTS[config.variant].widths[0]
    return numbers < PACKED_FROM


def captures_steps(
    config: TrainConfig, process: Process, loader_options: LoaderOptions, worth: bool = True
) -> bool:
    """True where steps are captured in CUDA graphs. `worth`: they gain by it (`worth_capturing`).

    TsgcError where `graphs` is true and they cannot be.
    """
    on_gpu = process.device.type == "cuda"
    # Where damaged clips are left out, a batch's size does not say each rank's share (`StepGraphs`).
    obstacles = {
        f"the device is {process.device.type}": not on_gpu,
        "several ranks skip damaged clips": process.world > 1 and loader_options.on_error == "skip",
    }
    for obstacle, there in obstacles.items():
        if there and config.graphs:
            raise TsgcError(f"graphs is true, and {obstacle}: steps cannot be captured; --set graphs=null")
    return worth and not any(obstacles.values()) if config.graphs is None else config.graphs


class GraphPool:
    """The stream that graphs are captured on, and the memory that they share.

    Sharing is safe because graphs never run at once, and because nothing that one leaves in the pool is read
    after another has run: what outlives a replay lies outside, or is copied first.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream | None = None
        self._handle: Any = None  # of a type that torch keeps to itself

    def warm_up(self, run: Callable[[], Result], *used: Tensor | None) -> Result:
        """`run` on the stream that is captured later, in turn with the current one; it reads `used`."""
        current = torch.cuda.current_stream(self.device)
        if self._stream is None:
            # The work's own will do: runs side by side share neither streams nor the workspaces of these.
            default = torch.cuda.default_stream(self.device)
            self._stream = torch.cuda.Stream(self.device) if current == default else current
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = run()
        for tensor in used:
            if tensor is not None and tensor.is_cuda:
                tensor.record_stream(self._stream)
        if isinstance(result, Tensor):
            result.record_stream(current)
        current.wait_stream(self._stream)
        return result

    def capture(self, run: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        """What replays `run`, which is captured and not run; and its result, which each replay fills anew."""
        if self._handle is None:
            self._handle = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        before = torch.cuda.current_stream(self.device)
        # thread_local: other threads pin memory and launch on streams of their own meanwhile.
        try:
            with torch.cuda.graph(
                graph, pool=self._handle, stream=self._stream, capture_error_mode="thread_local"
            ):
                result = run()
        except RuntimeError:
            torch.cuda.set_stream(before)  # torch leaves the capture's as the current one where its end fails
            renew_generator(self.device)
            raise
        return graph.replay, result

    def forget(self) -> None:
        """Leave the memory to the graphs that are there; those captured later share another."""
        self._handle = None


def renew_generator(device: torch.device) -> None:
    """Give the device's random numbers a state of their own again.

    A capture that fails leaves torch's default generator as if the capture went on, and it draws no more.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    generator, fresh = torch.cuda.default_generators[index], torch.Generator(device)
    fresh.manual_seed(generator.initial_seed())
    generator.graphsafe_set_state(fresh.graphsafe_get_state())


class StepGraphs:
    """Runs a step by replaying it, once its shape of input has been captured.

    All graphs share one pool of memory: weights, optimiser state, averages, loss and norm lie outside, and
    the gradients are gone at the end of the step.

    Several ranks must capture in the same step, because exchanges may settle things with each other when they
    are captured: so the global batch's `size` must say which shapes each rank has, and is counted by.
    """

    def __init__(self, device: torch.device) -> None:
        self.pool = GraphPool(device)
        self.check: Check | None = None
        """Where no graph may do what the network does: takes the first captured step as a graph and plainly,
        and says whether they agree. Then a capture that fails, too, leaves plain steps."""
        self.agreed: Callable[[bool], bool] = lambda here: here
        """Whether all ranks say so."""
        self._captures = True
        self._captured: dict[Key, Captured] = {}
        self._seen: Counter[Key] = Counter()

    def __call__(self, parts: Sequence[MicroBatch], size: int, run: StepFunction) -> None:
        if not self._captures:
            run(parts)
            return
        # Numbers of rows that the host knows would be shapes, and a graph has those of its capture.
        parts = [replace(part, alive=None) for part in parts]
        key = (size, signature(parts))
        captured = self._captured.get(key)
        if captured is None:
            self._seen[key] += 1
            if self._seen[key] <= WARM_UP or len(self._captured) >= MOST_GRAPHS:
                self._warm_up(parts, run)
                return
            if self.check is not None and not self._captured:
                self._try(key, parts, run)
                return
            captured = self._captured[key] = self._capture(parts, run)
        fill_inputs(captured, parts)
        captured.replay()

    def __len__(self) -> int:
        return len(self._captured)

    def clear(self) -> None:
        """Frees the graphs and their memory; the next steps are first steps again."""
        self._captured.clear()
        self._seen.clear()
        self.pool.forget()

    def _try(self, key: Key, parts: Sequence[MicroBatch], run: StepFunction) -> None:
        """The first captured step, checked; where a graph does not do, it and those after it are plain."""
        assert self.check is not None
        try:
            captured = self._capture(parts, run)
        except TsgcError as error:
            captured, reason = None, str(error.__cause__ or error).strip().splitlines()[0]
        if not self.agreed(captured is not None):  # where one rank has failed, none replays
            self._give_up(reason if captured is None else "it failed on another rank")
            run(parts)
            return
        assert captured is not None
        fill_inputs(captured, parts)
        same = self.check(captured.replay, lambda: self._warm_up(parts, run))
        if not self.agreed(same):
            self._give_up("its first captured step is not its plain one")
            return
        self._captured[key] = captured

    def _give_up(self, reason: str) -> None:
        self._captures = False
        self.clear()
        warnings.warn(
            f"the network's steps cannot be CUDA graphs: they run plainly, slower for small input ({reason})",
            RuntimeWarning,
            stacklevel=4,
        )

    def _warm_up(self, parts: Sequence[MicroBatch], run: StepFunction) -> None:
        self.pool.warm_up(lambda: run(parts), *(tensor for part in parts for tensor in part.tensors.values()))

    def _capture(self, parts: Sequence[MicroBatch], run: StepFunction) -> Captured:
        inputs = [clone(part) for part in parts]
        try:
            replay, _ = self.pool.capture(lambda: run(inputs))
        except RuntimeError as error:
            first = str(first_error(error)).strip().splitlines()[0]
            raise TsgcError(
                f"the training step could not be captured in a CUDA graph ({first});"
                " --set graphs=false trains without (slower for small inputs), --debug shows where it failed"
            ) from error
        return Captured(inputs, replay)


def fill_inputs(captured: Captured, parts: Sequence[MicroBatch]) -> None:
    """Copy a step's input to where its graph reads it."""
    for mine, given in zip(captured.inputs, parts, strict=True):
        sources = given.tensors
        for name, tensor in mine.tensors.items():
            tensor.copy_(sources[name])


def clone(batch: MicroBatch) -> MicroBatch:
    """A copy in tensors of its own, of the same layout."""
    copies: dict[str, Any] = {name: tensor.clone() for name, tensor in batch.tensors.items()}
    return replace(batch, **copies)


def first_error(error: BaseException) -> BaseException:
    """The error that came first: ending a capture that has failed fails too, and says less."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def signature(parts: Sequence[MicroBatch]) -> Signature:
    """Names, shapes and types of the tensors that a step is given."""
    return tuple(
        (name, tuple(tensor.shape), tensor.dtype) for part in parts for name, tensor in part.tensors.items()
    )
