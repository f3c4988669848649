"""Compile the fused kernels for GPUs that are not here, and read what each asks for.

    python benchmarks/kernel_asks.py                     # all cuts, all architectures: tsgc/kernels/asked.py
    python benchmarks/kernel_asks.py --widths 48 64      # these alone; the table's other rows stay
    python benchmarks/kernel_asks.py --check "rtx 4090"  # what the ladder chooses there, beside what it has
    python benchmarks/kernel_asks.py --check "rtx 4090" --every  # all narrow types and skeletons, too
    python benchmarks/kernel_asks.py --field "rtx 4090"  # the kernels of the field's networks there
    python benchmarks/kernel_asks.py --cards             # the table of docs/performance.md, from asked.py

Compiling stops where shared memory is allocated, in LLVM's language, before the maker's assembler, which
takes minutes for some cuts. Launches are those of a block on the device `meta`, as they would be made.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.pop("TRITON_INTERPRET", None)

import torch
from triton._C.libtriton import ir, llvm
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

from pipelines.skeleton import SKELETONS
from tsgc import kernels
from tsgc.kernels import cards, ladder, tunings
from tsgc.kernels.asked import ASKED
from tsgc.kernels.cards import CARDS, KB, Card
from tsgc.kernels.launching import Launch, recorded
from tsgc.kernels.patch import PatchNorm
from tsgc.kernels.tall import column_sums
from tsgc.network.field import gcn_layers
from tsgc.network.field import product as field_product
from tsgc.network.field.ctrgcn import CTRGCN
from tsgc.network.field.stgcnpp import STGCNPP

COMPILED_FOR = {name: CARDS[name] for name in ("t4", "a100", "h200", "b200", "rtx 5090", "mi300x")}
TENSOR_MEMORY = 512  # columns, which kernels for compute capability 10.0 share like shared memory
TABLE = Path(__file__).parents[1] / "tsgc/kernels/asked.py"
Key = tuple[int | str, str, str, int]
Asks = tuple[int | None, int | None]
WIDTHS = tuple(tunings.TUNINGS)
JOINTS = 25
FIELD = {"ctrgcn": CTRGCN, "stgcn++": STGCNPP}


_known: dict[tuple[str, str], int] = {}


def asked(launch: Launch, card: Card) -> int:
    """Bytes of shared memory of a launch on a card. Raises whatever Triton does where it does not compile."""
    target = GPUTarget("hip" if card.amd else "cuda", card.arch, card.warp)
    backend = make_backend(target)
    kernel, given = launch.kernel, {"debug": False, "instrumentation_mode": "", **launch.options}
    binder = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, options = binder(*launch.args, **given)
    options, signature, constants, attributes = kernel._pack_args(
        backend, given, bound, specialization, options
    )
    source = ASTSource(kernel, signature, constants, attributes)
    if (key := (source.hash(), options.hash())) not in _known:
        _known[key] = _compile(source, target, backend, options)
    return _known[key]


def _compile(source: ASTSource, target: GPUTarget, backend: Any, options: Any) -> int:
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    metadata, stages = {"target": target, **vars(options)}, {}
    backend.add_stages(stages, options, source.language)
    codegen = backend.get_codegen_implementation(options)
    module = source.make_ir(target, options, codegen, backend.get_module_map(), context)
    with patch.object(llvm, "optimize_module"):  # LLVM's own work, which changes no shared memory
        for name in ("ttir", "ttgir", "llir"):
            module = stages[name](module, metadata)
    if (metadata.get("tmem_size") or 0) > TENSOR_MEMORY:
        raise RuntimeError(f"{metadata['tmem_size']} columns of tensor memory")
    return int(metadata["shared"])


def block_launches(
    card: Card, choice: ladder.Choice, dtype: torch.dtype, training: bool, joints: int = JOINTS
) -> list[Launch]:
    """The launches of a block, each kind once."""
    with cards.limited(card), recorded() as launches:
        ladder.try_out(choice.road(choice.width), choice.width, torch.device("meta"), dtype, joints, training)
    return list({(found.kernel.__name__, str(found.options)): found for found in launches}.values())


def other_launches(card: Card, dtype: torch.dtype, width: int) -> list[Launch]:
    """The launches beside a block: the norm into patches, both ways, and sums over rows."""
    with cards.limited(card), recorded() as launches, torch.device("meta"):
        x = torch.zeros(16, 16, JOINTS, width, dtype=dtype, requires_grad=True)
        weight = torch.zeros(width, requires_grad=True)
        for stride in (1, 2):
            out = PatchNorm.apply(x, weight, torch.zeros(width, requires_grad=True), stride, 1e-6)
            out.backward(torch.zeros_like(out))
        column_sums(x.detach().view(-1, width))
    return launches


def ask(card: Card, choice: ladder.Choice, kind: str) -> Asks:
    """Most bytes of a rung in training and in recognition; None: some kernel does not compile."""
    results: list[int | None] = []
    for training in (True, False):
        try:
            results.append(max(figures(card, choice, narrow_or_wide(card, kind), training).values()))
        except RuntimeError:
            results.append(None)
    return results[0], results[1]


def narrow_or_wide(card: Card, kind: str) -> torch.dtype:
    """The type that stands for a kind of the table: bfloat16 for narrow ones, where the card has it."""
    return torch.float32 if kind == "float32" else card.types[0]


def figures(
    card: Card, choice: ladder.Choice, dtype: torch.dtype, training: bool, joints: int = JOINTS
) -> dict[str, int]:
    """Kernel -> bytes; of float32, the most of strict float32 and TF32."""
    found: dict[str, int] = {}
    for precision in ("highest", "high") if dtype == torch.float32 and not card.amd else ("highest",):
        torch.set_float32_matmul_precision(precision)
        for launch in block_launches(card, choice, dtype, training, joints):
            name = launch.kernel.__name__
            found[name] = max(found.get(name, 0), asked(launch, card))
    return found


def rungs() -> Iterator[tuple[str, tunings.Rung, int]]:
    for kind, all_of_kind in (("narrow", tunings.NARROW_RUNGS), ("float32", tunings.WIDE_RUNGS)):
        for rung in all_of_kind:
            for width in rung.tunings:
                yield kind, rung, width


def rows_of(name: str, widths: Sequence[int]) -> dict[Key, Asks]:
    """The rows of the table that hold for a card's architecture."""
    card, rows = COMPILED_FOR[name], {}
    for kind, rung, width in rungs():
        if width in widths and (card.multiplies or rung.name == "library"):
            key = ladder.family(card), kind, rung.name, width
            rows[key] = ask(card, ladder.Choice(rung, width, 0), kind)
            print(*key, *rows[key], flush=True)
    return rows


def write_table(names: Sequence[str], widths: Sequence[int], processes: int) -> None:
    """Compile these widths for these cards and put what they ask for into `asked.py`; other rows stay."""
    table = dict(ASKED)
    with ProcessPoolExecutor(min(processes, len(names))) as pool:
        for rows in pool.map(partial(rows_of, widths=widths), names):
            table |= rows
    order = [
        (ladder.family(card), kind, rung.name, width)
        for card in COMPILED_FOR.values()
        for kind, rung, width in rungs()
    ]
    lines = [f"    {key}: {table[key]},\n" for key in order if key in table]
    text = (
        '"""Bytes of shared memory that each rung asks for, in training and in recognition.\n\n'
        'Written by `benchmarks/kernel_asks.py`. None: some kernel does not compile.\n"""\n\n'
        "ASKED: dict[tuple[int | str, str, str, int], tuple[int | None, int | None]] = {\n"
    )
    TABLE.write_text(text + "".join(lines).replace("'", '"') + "}\n")


def check(card: Card, widths: Sequence[int], every: bool = False) -> list[str]:
    """What is wrong with what the ladder chooses on a card: kernels that do not fit, or ask for more.

    `every`: in each of its types and for each skeleton, not for one narrow type and one skeleton alone.
    """
    wrong = []
    numbers = sorted({one.num_joints for one in SKELETONS.values()}) if every else [JOINTS]
    for dtype in card.types if every else (card.types[0], torch.float32):
        for width in widths:
            for launch in other_launches(card, dtype, width):
                if (bytes_ := asked(launch, card)) > card.shared:
                    wrong.append(f"{launch.kernel.__name__} at {width}: {bytes_} of {card.shared}")
            for training, joints in product((True, False), numbers):
                choices = ladder.fitting(card, dtype, width, joints, training)
                if not choices:
                    if joints == JOINTS:
                        wrong.append(f"{dtype} at {width}: no rung")
                    continue
                name, recorded = choices[0].rung.name, choices[0].asked
                found = figures(card, choices[0], dtype, training, joints)
                print(dtype, width, name, "training" if training else "recognition", joints, found)
                if max(found.values()) > min(card.shared, recorded):
                    wrong.append(
                        f"{name} at {width}, {joints} joints: {found};"
                        f" {recorded} recorded, {card.shared} there"
                    )
    return wrong


def field_launches(network: str, card: Card, dtype: torch.dtype) -> list[Launch]:
    """The launches of the units of a network of the field whose shapes differ, in a training step."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(kernels, "fuses", lambda x: True))
        for module in (field_product, gcn_layers):  # which torch does not know for `meta`
            stack.enter_context(patch.object(module, "autocast_type", lambda x: x.dtype))
        stack.enter_context(cards.limited(card))
        launches = stack.enter_context(recorded())
        stack.enter_context(torch.device("meta"))
        for unit in (0, 4, 9):
            model = FIELD[network](SKELETONS["ntu-25"], 60).units[unit].to("meta")
            for module in model.modules():
                if isinstance(module, gcn_layers.Pointwise):  # as autocast has it
                    module.to(dtype)
            channels, frames = model.graph.transform.weight.shape[1], 64 >> unit // 4
            out = model(torch.zeros(channels, 8, JOINTS, frames, dtype=dtype, requires_grad=True))
            out.backward(torch.zeros_like(out))
    return launches


def check_field(card: Card) -> list[str]:
    """What is wrong with the kernels of the field's networks on a card; they say what they ask for."""
    wrong = []
    for dtype in (card.types[0], torch.float32):
        for network in FIELD:
            found: dict[str, int] = {}
            for launch in field_launches(network, card, dtype):
                name = f"{launch.kernel.__module__.rpartition('.')[2]}{launch.kernel.__name__}"
                found[name] = max(found.get(name, 0), asked(launch, card))
            print(dtype, network, found)
            wrong += [
                f"{name} of {network} in {dtype}: {bytes_} of {card.shared}"
                for name, bytes_ in found.items()
                if bytes_ > card.shared
            ]
    return wrong


def cards_table() -> str:
    """What the ladder chooses and asks for in training, in Markdown; cards that are alike have one line."""
    heads = ["card", "shared memory", f"{WIDTHS[0]} channels", *map(str, WIDTHS[1:]), "192 in float32"]
    found: dict[tuple[str, ...], list[str]] = {}
    for name, card in CARDS.items():
        cells = [f"{card.shared // KB} kB"]
        for dtype, width in [*((card.types[0], width) for width in WIDTHS), (torch.float32, 192)]:
            choices = ladder.fitting(card, dtype, width, JOINTS, training=True)
            cells.append(f"{choices[0].rung.name}, {choices[0].asked / KB:.0f} kB" if choices else "plain")
        found.setdefault(tuple(cells), []).append(name)
    rows = [[", ".join(names), *cells] for cells, names in found.items()]
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="CARD", help="compile for these alone")
    parser.add_argument("--check", metavar="CARD")
    parser.add_argument("--field", metavar="CARD")
    parser.add_argument("--cards", action="store_true")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=WIDTHS, choices=WIDTHS, help="not for --cards"
    )
    parser.add_argument(
        "--every", action="store_true", help="with --check: all of the card's types and all skeletons"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    if args.cards:
        print(cards_table())
    elif args.check or args.field:
        card = cards.named_card(args.check or args.field)
        if wrong := check(card, args.widths, args.every) if args.check else check_field(card):
            sys.exit("\n".join(wrong))
    else:
        write_table(args.names or list(COMPILED_FOR), args.widths, args.processes)


if __name__ == "__main__":
    main()
