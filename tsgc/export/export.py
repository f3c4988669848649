"""`tsgc export`: a trained run as ONNX and torch.export files, each checked against PyTorch."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pipelines.errors import TsgcError, first_line
from pipelines.files import atomic_path, refuse_existing, write_atomic
from tsgc.console import Talker
from tsgc.export.check import Arrays, check_clips, input_cases, joint_cases, largest_difference
from tsgc.export.model_card import model_card
from tsgc.export.modules import FromInput, FromJoints, any_length, least_frames
from tsgc.inference.trained_stream import TrainedStream, load_stream
from tsgc.network.own.code import described
from tsgc.network.own.wrapped import Wrapped
from tsgc.step.forward_graphs import ForwardGraphs
from tsgc.workspace.runs import checkpoint_path

TOLERANCE = 1e-4  # largest difference of a logit from PyTorch's


def export_run(
    talker: Talker,
    run: Path,
    *,
    checkpoint: str = "last",
    ema: bool = False,
    formats: Sequence[str] = ("onnx", "pt2"),
    raw_input: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
    data_root: Path,
) -> list[Path]:
    """Write a run's network to `out` (default: RUN/export) in each format, and a model card beside them.

    A file gets its name only when its logits equal PyTorch's within TOLERANCE, on clips of the run's test
    split where its shards are there, else on made ones. Raises TsgcError where they do not.
    """
    source = checkpoint_path(run, checkpoint, ema)
    stream = in_float32(load_stream(source, torch.device("cpu")))
    if raw_input and stream.pipeline.present_only:
        raise TsgcError(
            f"{source}: a run of the {stream.description.preset} preset, whose bridging of gaps a file cannot"
            " hold; export it without --raw-input"
        )
    folder = out or (run if run.is_dir() else source.parent) / "export"
    stem = source.stem + ("-joints" if raw_input else "")
    paths = {name: folder / f"{stem}.{name}" for name in formats}
    card = folder / f"{stem}.md"
    for path in (*paths.values(), card):
        refuse_existing(path, overwrite)

    clips, origin = check_clips(stream, data_root)
    module = (FromJoints if raw_input else FromInput)(stream).eval()
    cases = joint_cases(stream, clips) if raw_input else input_cases(stream, clips)
    talker.note(f"tracing {source}")
    program = export_program(module, cases[0].inputs, stream)
    differences = {}
    for name, path in paths.items():
        write, run_file = FORMATS[name]
        with atomic_path(path) as temporary:
            temporary.write_bytes(write(program, stream, list(cases[0].inputs)))
            differences[name] = worst = largest_difference(run_file(temporary), cases)
            if not worst <= TOLERANCE:
                raise TsgcError(
                    f"{path}: logits differ from PyTorch's by up to {worst:.1e}, expected {TOLERANCE:.0e} at"
                    " most; not written"
                )
        talker.line(
            f"{path}: {path.stat().st_size / 1e6:.1f} MB, largest difference from PyTorch {worst:.1e}"
            f" on {len(cases)} batches of {origin}"
        )
    text = model_card(stream, run, raw_input=raw_input, differences=differences, checked_on=origin)
    write_atomic(card, text.encode())
    talker.line(f"{card}: model card")
    files = [*paths.values(), card]
    talker.data({"files": [str(path) for path in files], "differences": differences, "checked_on": origin})
    return files


def in_float32(stream: TrainedStream) -> TrainedStream:
    """The stream with float32 weights and arithmetic, whatever it was trained with: what a file computes."""
    stream.model.float()
    config = replace(stream.pipeline.config, precision="float32", trained_in=None)
    forward = ForwardGraphs("float32", stream.forward.device, sizes=())
    return replace(stream, pipeline=replace(stream.pipeline, config=config), forward=forward)


def export_program(module: nn.Module, inputs: Arrays, stream: TrainedStream) -> ExportedProgram:
    """The module as an exported program, for any number of clips, and of frames where `any_length`.

    Raises TsgcError for a network other than TSGCNeXt that cannot be traced.
    """
    batch = Dim("batch")
    if isinstance(module, FromJoints):
        shapes = [{0: batch, 1: Dim("frames")}]
    elif any_length(stream):
        shapes = [{0: batch, 2: Dim("frames", min=least_frames(stream))}]
    else:
        shapes = [{0: batch} for _ in inputs]
    given = tuple(torch.from_numpy(array) for array in inputs.values())
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(module, given, dynamic_shapes=tuple(shapes))
    except Exception as error:
        if not isinstance(stream.model, Wrapped):
            raise
        raise TsgcError(
            f"network {stream.model.source}: torch.export cannot trace it for any number of clips (len(x) and"
            f" branches on values fix what they look at): {described(error)}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """A context that silences the exporters' warnings about their own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def file_metadata(stream: TrainedStream) -> dict[str, str]:
    """The description that is written into a file."""
    said = stream.description
    return {
        "benchmark": said.benchmark,
        "preset": said.preset,
        "skeleton": said.skeleton,
        "channels": said.axes,
        "network": said.config.network,
        "variant": said.config.network_name,
        "modality": said.config.modality,
        "frames": str(said.config.frames),
        "classes": orjson.dumps(said.class_names).decode(),
    }


def write_onnx(program: ExportedProgram, stream: TrainedStream, names: Sequence[str]) -> bytes:
    """The program as ONNX, with its weights in the same file."""
    onnx = needed("onnx")
    needed("onnxscript")
    try:
        with quiet():
            exported = torch.onnx.export(
                program, (), dynamo=True, external_data=False, verbose=False,
                input_names=list(names), output_names=["logits"],
            )  # fmt: skip
    except Exception as error:
        if not isinstance(stream.model, Wrapped):
            raise
        first: BaseException = error
        while first.__cause__:
            first = first.__cause__
        raise TsgcError(
            f"network {stream.model.source}: ONNX lacks what it computes ({first_line(first)}); give"
            " --format pt2"
        ) from error
    assert exported is not None
    model = exported.model_proto
    axes = {"x": {0: "batch", 2: "frames"}, "presence": {0: "batch", 1: "frames"},
            "joints": {0: "batch", 1: "frames"}, "logits": {0: "batch"}}  # fmt: skip
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in axes[value.name].items():
            dim = value.type.tensor_type.shape.dim[axis]
            if dim.dim_param:  # a fixed T has none
                dim.dim_param = name
    onnx.helper.set_model_props(model, file_metadata(stream))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def open_onnx(path: Path) -> Callable[[Arrays], np.ndarray]:
    """A function that runs an ONNX file in ONNX Runtime, on the CPU."""
    session = needed("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def write_pt2(program: ExportedProgram, stream: TrainedStream, names: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(
        program, buffer, extra_files={"tsgc.json": orjson.dumps(file_metadata(stream)).decode()}
    )
    return buffer.getvalue()


def open_pt2(path: Path) -> Callable[[Arrays], np.ndarray]:
    """A function that runs a torch.export file."""
    module = torch.export.load(io.BytesIO(path.read_bytes())).module()

    @torch.inference_mode()
    def run(inputs: Arrays) -> np.ndarray:
        given: list[Tensor] = [torch.from_numpy(array) for array in inputs.values()]
        return module(*given).numpy()

    return run


FORMATS: dict[str, tuple[Callable[..., bytes], Callable[[Path], Callable[[Arrays], np.ndarray]]]] = {
    "onnx": (write_onnx, open_onnx),
    "pt2": (write_pt2, open_pt2),
}


def needed(name: str) -> Any:
    """A package of the extra `export`; TsgcError where it is not installed."""
    try:
        return __import__(name)
    except ImportError:
        raise TsgcError(
            f"ONNX needs the package {name}; install the extra with `pip install '.[export]'`,"
            " or give --format pt2"
        ) from None
