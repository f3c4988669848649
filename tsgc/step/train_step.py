"""One optimiser step as one object: mix, forward, loss, backward, clip, optimiser, average.

Nothing in it waits for the device. On a GPU the learning rate, the loss's scale and the average's decay are
tensors there, so that the step can be captured in a CUDA graph (tsgc/step/cuda_graphs.py) and replayed: a
step is then a few copies and one launch. On CPUs they are numbers, and the step is a plain loop's to the bit.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.input.mixing import mix, mix_presence
from tsgc.network.own.wrapped import Wrapped, told_of
from tsgc.network.precision import arithmetic
from tsgc.network.timm_parts import ModelEmaV3
from tsgc.step.cuda_graphs import GraphPool, StepGraphs
from tsgc.step.distil import Teachers
from tsgc.step.ema import WeightAverage
from tsgc.step.graph_check import StepState, same_step
from tsgc.step.loss import agreement, soft_targets, summed_loss
from tsgc.step.loss_scale import LossScale
from tsgc.step.micro_batch import MicroBatch
from tsgc.step.optimizer import set_learning_rate, sum_gradients
from tsgc.step.other_networks import average_buffers, seed_step

FurtherLoss = Callable[[Tensor, MicroBatch], Tensor]
"""A micro-batch's logits, and itself, not yet mixed -> what is added to its summed loss."""


class TrainStep:
    """Trains `model` by one global batch a call, and keeps its average `ema` up to date.

    `optimizer` is `build_optimizer`'s. `network` is the model as it is called (compiled, or wrapped in
    DistributedDataParallel); default: the model. On several ranks without that wrapper the gradients are
    summed here, all in one exchange. With `teachers` the loss is part labels, part their answers
    (`config.distil`). With `cuda_graphs` (GPUs only) the step is captured for each size of batch
    after its first few steps, and replayed; on several ranks the size must then say each rank's share. In
    float16 a step whose gradients overflow changes neither weights nor average (`LossScale`).

        step = TrainStep(model, optimizer, ema, config, num_classes, process)
        step([batch], lr=learning_rate(position, steps_per_epoch, config), size=128, position=position)
        mean = step.loss_sum.item() / 128  # waits for the device

    The optimiser's state is part of a captured graph: load it before the first step, or call `reset` after.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: ModelEmaV3,
        config: TrainConfig,
        num_classes: int,
        process: Process,
        *,
        network: nn.Module | None = None,
        cuda_graphs: bool = False,
        teachers: Teachers | None = None,
    ) -> None:
        self.model, self.network = model, model if network is None else network
        self.optimizer, self.ema = optimizer, ema
        self.config, self.num_classes, self.process = config, num_classes, process
        self.teachers = teachers
        device = process.device
        self.loss_sum = torch.zeros((), device=device, dtype=torch.float64)
        """Summed loss of this rank's clips since `clear`."""
        self.sums = [self.loss_sum]
        """What forward passes add to, and have not where a step is broken off or taken back."""
        self.norm = torch.zeros((), device=device)
        """Norm of the last step's gradient before it was clipped; 0 without clipping."""
        self.loss_scale = LossScale(optimizer, device) if config.arithmetic == "float16" else None
        self._ddp = self.network if isinstance(self.network, DistributedDataParallel) else None
        # DDP averages over ranks, where the loss is the mean over the clips of the global batch.
        self._times = process.world if self._ddp else 1
        self._scale: float | Tensor = 1.0
        self._average = WeightAverage(ema, model, on_device=device.type == "cuda")
        if device.type == "cuda":
            self._scale = torch.ones((), device=device)
        self.after_part: Callable[[], None] = lambda: None
        """Called on the host after each micro-batch of a step, but for steps that are replayed."""
        self.further_loss: FurtherLoss | None = None
        self._position = 0  # of the step that is under way
        self._source = model.source if isinstance(model, Wrapped) else ""
        self._draws = isinstance(model, Wrapped)
        """Whether the network may draw random numbers of its own, and have statistics of one rank's clips."""
        self._cuda_graphs = StepGraphs(device) if cuda_graphs else None
        if self._cuda_graphs is not None and self._draws:  # it is empty as yet
            self._cuda_graphs.agreed = self._on_all_ranks
            self._cuda_graphs.check = None if config.graphs else self._same_step

    def __call__(
        self,
        parts: Sequence[MicroBatch],
        *,
        lr: float,
        size: int,
        position: int,
        stop: Callable[[], bool] | None = None,
    ) -> bool:
        """One step: this rank's micro-batches of a global batch of `size` clips, over all ranks.

        `position`: steps of the whole run before this one, which the average's warm-up follows. `stop` is
        asked before each micro-batch, unless the step is a captured one; where it says so, which it must on
        all ranks alike, the step is broken off, weights and statistics are as before it, and False returned.
        """
        set_learning_rate(self.optimizer, lr)
        self._position = position
        if self._draws:
            seed_step(self.config.seed, position, self.process.rank)
        scale = self._times / size
        if isinstance(self._scale, Tensor):
            self._scale.fill_(scale)
        else:
            self._scale = scale
        self._average.set_decay(self.ema.get_decay(position + 1 if self.config.ema_warmup else None))
        if self._cuda_graphs is None:
            return self._run(parts, stop)
        self._cuda_graphs(parts, size, self._run)
        return True

    @property
    def others(self) -> tuple[str, ...]:
        """The further modalities that its batches must have, for teachers (`MicroBatch.others`)."""
        return self.teachers.others if self.teachers else ()

    @property
    def graph_pool(self) -> GraphPool | None:
        """The memory of its graphs; None where steps are not captured."""
        return None if self._cuda_graphs is None else self._cuda_graphs.pool

    def clear(self) -> None:
        """Sets `loss_sum` back to 0."""
        self.loss_sum.zero_()

    def reset(self) -> None:
        """Drops what was captured. Needed before the process group ends, and after loading a state."""
        if self._cuda_graphs is not None:
            self._cuda_graphs.clear()

    def loss(self, batch: MicroBatch) -> Tensor:
        """Summed loss of a micro-batch's clips, mixed."""
        lam = batch.lam if batch.lam_map is None else batch.lam_map
        x = mix(batch.x, batch.partner, lam)
        presence = batch.presence
        if presence is not None:
            presence = mix_presence(presence, batch.partner, lam)
        targets = soft_targets(
            batch.labels, batch.partner, batch.lam, self.num_classes, self.config.label_smoothing
        )
        with arithmetic(self.config.arithmetic, self.process.device):
            answer = None
            if self.teachers is not None:  # before the student, whose activations wait for its backward pass
                others = None if batch.others is None else mix(batch.others, batch.partner, lam)
                answer = self.teachers.answer(x, others, presence)
            # Compiled code is for stated numbers of rows: it would be compiled anew for each.
            kept = None if self.config.compile else batch.kept
            with told_of(self._source, "forward pass", x):  # here, too, for what is compiled
                logits = self.network(x, batch.survival, presence, kept)
            if self.config.compile and isinstance(self.model, Wrapped):
                self.model.check_shape(logits, x)
        loss = summed_loss(logits, targets)
        if self.config.mutual and logits.dim() == 3:
            agreed = agreement(logits, self.config.distil_temperature)
            loss = (1 - self.config.mutual) * loss + self.config.mutual * agreed
        if self.teachers is not None and answer is not None:
            taught = self.teachers.divergence(logits, answer)
            loss = (1 - self.config.distil) * loss + self.config.distil * taught
        return loss if self.further_loss is None else loss + self.further_loss(logits, batch)

    def _run(self, parts: Sequence[MicroBatch], stop: Callable[[], bool] | None = None) -> bool:
        """The step itself; all that changes from call to call comes in through tensors on a GPU."""
        before = self._statistics() if stop is not None and len(parts) > 1 else []
        for index, part in enumerate(parts):
            if stop is not None and stop():
                self._break_off(before)
                return False
            with self._gradient_sync(index == len(parts) - 1):
                loss = self.loss(part)
                scaled = loss * self._scale
                scaled = scaled if self.loss_scale is None else scaled * self.loss_scale.factor
                with told_of(self._source, "backward pass", part.x):
                    scaled.backward()
            self.loss_sum += loss.detach()
            self.after_part()
        if self._ddp is None:
            sum_gradients(self.model.parameters(), self.process)
        if self.loss_scale is not None:  # of all ranks' gradients: an overflow on one is one on all
            self.loss_scale.unscale(self.model.parameters())
        if self.config.clip_grad is not None:
            self._clip(self.config.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self._draws:
            average_buffers(self.model, self.process)
        self._average.update(None if self.loss_scale is None else self.loss_scale.overflow)
        if self.loss_scale is not None:
            self.loss_scale.update()
        return True

    def _same_step(self, graph: Callable[[], object], plain: Callable[[], object]) -> bool:
        """Whether a captured step is what it is plainly, with the same random numbers; `plain`'s is kept."""
        scale = () if self.loss_scale is None else self.loss_scale.tensors
        state = StepState(self.model, self.ema, self.optimizer, (*self.sums, self.norm, *scale))

        def seeded() -> None:
            seed_step(self.config.seed, self._position, self.process.rank)
            plain()

        return same_step(state, graph, seeded)

    def _on_all_ranks(self, here: bool) -> bool:
        missing = torch.tensor(float(not here), device=self.process.device)
        return not self.process.sum(missing).item()

    def _statistics(self) -> list[tuple[Tensor, Tensor]]:
        """What a forward pass changes, each with a copy: its sums, and the statistics of BatchNorm."""
        return [(tensor, tensor.clone()) for tensor in (*self.sums, *self.model.buffers())]

    def _break_off(self, before: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Make everything what it was before the step."""
        self.optimizer.zero_grad(set_to_none=True)
        for tensor, copy in before:
            tensor.copy_(copy)

    def _clip(self, most: float) -> None:
        """Clip the gradient's norm, and keep it where it is finite: a step that overflows has none."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), most)
        if self.loss_scale is not None:
            norm = norm.where(self.loss_scale.overflow == 0, self.norm)
        self.norm.copy_(norm)

    def _gradient_sync(self, last: bool) -> AbstractContextManager:
        """DDP exchanges gradients after the last micro-batch of a step alone."""
        return nullcontext() if self._ddp is None or last else self._ddp.no_sync()
