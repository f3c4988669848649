"""Any network in the place of TSGCNeXt: the same call, the same attributes, its own weights' names."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pipelines.errors import TsgcError
from tsgc.distributed.process import is_lost
from tsgc.kernels.launching import KernelError
from tsgc.network.own.code import described
from tsgc.networks import network_title


class NetworkError(TsgcError, RuntimeError):
    """A network's code has failed: what, and where. A RuntimeError, too, as failed captures of graphs are."""


@contextmanager
def told_of(source: str, what: str, x: Tensor | None = None) -> Iterator[None]:
    """A context in which an error is one line: that `what` of the network `source` failed, on x if given.

    Those of memory, of our kernels and of other processes stay what they are; so do all without a `source`.
    """
    try:
        yield
    except (TsgcError, torch.OutOfMemoryError, KernelError):
        raise
    except (Exception, SystemExit) as error:
        if not source or is_lost(error):
            raise
        on = "" if x is None else f" on {shape_words(x)}"
        raise NetworkError(f"network {source}: its {what} failed{on}: {described(error)}") from error


def shape_words(x: Tensor) -> str:
    """A network's input, as errors call it."""
    return f"x of (N, C, T, V, M) = {tuple(x.shape)}"


class Wrapped(nn.Module):
    """A network that is called as TSGCNeXt is; kept rows are none of its business.

    Where the network has `drop_path_rates` (blocks,), from 0 to below 1, and its forward pass a parameter
    `survival`, it is given drop path's factors (blocks, N*M) in training. In training its answer may be
    (N, heads, K): each head learns from the labels.
    Its input is contiguous, unless it says that it `takes_views`.

    `source`: the name by which errors call it. Its state dict is the network's own, so that its weights can
    be loaded outside of this project.
    """

    def __init__(
        self,
        network: nn.Module,
        source: str,
        num_classes: int,
        input_shape: tuple[int, int, int],
        frames: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.source, self.num_classes = source, num_classes
        self.takes_views: bool = getattr(network, "takes_views", False)
        self.input_shape = input_shape
        """Channels, joints and bodies of its input."""
        self.min_frames = frames
        """It is made for so many frames, and is given no others."""
        taken = inspect.signature(network.forward).parameters
        rates = checked_rates(network, source) if "survival" in taken else torch.zeros(0)
        self.takes_presence, self.takes_survival = "presence" in taken, len(rates) > 0
        self.drop_path_rates: Tensor
        self.register_buffer("drop_path_rates", rates, persistent=False)

    def forward(
        self,
        x: Tensor,
        survival: Tensor | None = None,
        presence: Tensor | None = None,
        kept: Sequence[int] | None = None,
    ) -> Tensor:
        if not self.takes_views:
            x = x.contiguous()  # ours is a view, which `.view` in other people's code refuses
        given = {"presence": presence} if self.takes_presence else {}
        if self.takes_survival:
            given["survival"] = survival
        logits: Tensor
        if torch.compiler.is_compiling():  # who traces it says what cannot be traced
            logits = self.network(x, **given)
            return logits
        without = self.takes_presence and presence is None
        with told_of(self.source, f"forward pass{' without presence' if without else ''}", x):
            logits = self.network(x, **given)
        self.check_shape(logits, x)
        return logits

    def __deepcopy__(self, memo: dict[int, Any]) -> "Wrapped":
        """A copy, also of a network that holds tensors it has computed, as `nn.utils.weight_norm` does."""
        for layer in self.network.modules():
            for value in vars(layer).values():
                if isinstance(value, Tensor) and not value.is_leaf:
                    memo[id(value)] = value.detach().clone()  # torch copies leaves alone
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        try:
            copied.__dict__ = deepcopy(self.__dict__, memo)
        except Exception as error:  # a lock, a generator, an open file
            raise NetworkError(
                f"network {self.source}: it cannot be copied, which the average of its weights needs:"
                f" {described(error)}; make that in its forward pass, or leave it out in __getstate__"
            ) from error
        return copied

    def check_shape(self, logits: Any, x: Tensor) -> None:
        """Refuse what is no logits of these clips; squeezed ones are right but for a single clip."""
        expected = (len(x), self.num_classes)
        if not isinstance(logits, Tensor):
            found = f"a {type(logits).__name__}"
        elif tuple(logits.shape) == expected:
            return
        elif self.training and logits.dim() == 3 and (len(logits), logits.shape[2]) == expected:
            return  # (N, heads, K)
        else:
            found = f"{tuple(logits.shape)}"
        mode = "" if self.training else " in eval mode"
        raise NetworkError(
            f"network {self.source}: its forward pass gives {found} for {shape_words(x)}{mode},"
            f" expected logits (N, K) = {expected}"
        )

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The network's own, without a prefix."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load the network's own."""
        return self.network.load_state_dict(*args, **kwargs)


def checked_rates(network: nn.Module, source: str) -> Tensor:
    """A network's rates of drop path; (0,) where it has none. Raises TsgcError: no rates."""
    rates = getattr(network, "drop_path_rates", torch.zeros(0))
    if not (
        isinstance(rates, Tensor)
        and rates.dim() == 1
        and rates.is_floating_point()
        and bool(((rates >= 0) & (rates < 1)).all())
    ):
        raise TsgcError(
            f"network {source}: its drop_path_rates are {rates!r}, expected a tensor (blocks,) of rates from"
            " 0 to below 1"
        )
    return rates


def try_out(
    model: Wrapped,
    device: torch.device,
    every_gradient: bool,
    arithmetic: Callable[[], AbstractContextManager] = nullcontext,
    *,
    presence: bool,
) -> None:
    """Run a made batch through a network, in training mode, backwards, and in eval mode; it stays as it is.

    `arithmetic`: the context of forward passes. `presence`: whether its clips come with it. Raises TsgcError
    for what would go wrong in the first step or where it is scored: an error, an answer of another shape, one
    that is not finite, and with `every_gradient` a parameter that has none.
    """
    C, V, M = model.input_shape
    T = model.min_frames
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, C, T, V, M, generator=generator).to(device)
    present = torch.ones(2, T, M, device=device) if presence else None
    buffers = [buffer.clone() for buffer in model.buffers()]
    training = model.training
    # Its random numbers are put back: the run's own do not depend on this.
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        with arithmetic():
            logits = model.train()(x, presence=present)
        check_numbers(logits, model.source, shape_words(x))
        if not logits.requires_grad:
            raise TsgcError(
                f"network {model.source}: no gradient reaches its parameters; has it any that are trained?"
            )
        with told_of(model.source, "backward pass", x):
            logits.float().square().sum().backward()
        if every_gradient:
            check_gradients(model)
        with arithmetic(), torch.no_grad():
            recognised = model.eval()(x, presence=present)
        check_numbers(recognised, model.source, f"{shape_words(x)} in eval mode")
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    model.train(training)


def give_shapes(model: Wrapped) -> None:
    """Let lazy layers, such as LazyLinear, take their shapes and first weights, by a made batch."""
    if not _lazy_layers(model):
        return
    C, V, M = model.input_shape
    training = model.training
    with torch.no_grad():
        x = torch.zeros(2, C, model.min_frames, V, M)
        model.eval()(x, presence=torch.ones(2, model.min_frames, M))
    model.train(training)
    if unused := _lazy_layers(model):
        raise TsgcError(
            f"network {model.source}: its forward pass left lazy layers without shape: {', '.join(unused)}"
        )


def _lazy_layers(model: Wrapped) -> list[str]:
    return [
        name
        for name, layer in model.network.named_modules()
        if any(is_lazy(own) for own in [*layer.parameters(recurse=False), *layer.buffers(recurse=False)])
    ]


def check_numbers(logits: Tensor, source: str, shape: str) -> None:
    """Refuse logits that are no floating point, or not finite."""
    if not logits.is_floating_point():
        raise TsgcError(f"network {source}: its logits are {logits.dtype}, expected floating point")
    if not logits.isfinite().all():
        raise TsgcError(
            f"network {source}: its logits are not finite for standard normal {shape}; look at its weights"
        )


def check_gradients(model: Wrapped) -> None:
    """Refuse a network with a parameter that takes no part, which several ranks cannot agree on."""
    idle = [
        name for name, value in model.network.named_parameters() if value.requires_grad and value.grad is None
    ]
    if idle:
        more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
        raise TsgcError(
            f"network {model.source}: parameter {idle[0]}{more} gets no gradient, which training on several"
            " processes needs; use it, or set its requires_grad to False"
        )


def wrap(
    network: Any,
    name: str,
    num_classes: int,
    *,
    input_shape: tuple[int, int, int],
    frames: int,
) -> Wrapped:
    """The network that a callable has made. Raises TsgcError where it is none."""
    source = network_title(name) if ":" not in name else name
    if not isinstance(network, nn.Module):
        raise TsgcError(f"network {source}: made a {type(network).__name__}, expected a torch.nn.Module")
    model = Wrapped(network, source, num_classes, input_shape, frames)
    give_shapes(model)
    return model
