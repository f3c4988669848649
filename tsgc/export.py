"""`tsgc export`: a trained run as ONNX and torch.export, each checked against PyTorch before it is there."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pipelines.errors import TsgcError
from pipelines.files import atomic_path, refuse_existing
from shards.loader import EvalLoader
from shards.manifest import load_manifest
from tsgc.checkpoint import write_atomic
from tsgc.console import Talker
from tsgc.evaluate import check_match
from tsgc.export_graph import FromInput, FromJoints, any_length, least_frames
from tsgc.inference import Stream, load_stream, pack
from tsgc.model_card import model_card
from tsgc.runs import checkpoint_path
from tsgc.workspace import sharded

TOLERANCE = 1e-4  # largest difference of a logit from PyTorch's
CHECK_CLIPS = 6
EXAMPLE = 3  # clips in the traced batch; 1 would be taken for a constant

Arrays = dict[str, np.ndarray]
"""Inputs of a file, by name."""


@dataclass(frozen=True)
class Case:
    """Inputs to check a file on, and PyTorch's logits for them."""

    inputs: Arrays
    logits: np.ndarray


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

    A file gets its name only when its logits are PyTorch's within TOLERANCE, on clips of the run's test
    split where its shards are there, and made ones else. Raises TsgcError where they are not.
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
    program = trace(module, cases[0].inputs, stream)
    differences = {}
    for name, path in paths.items():
        write, run_file = FORMATS[name]
        with atomic_path(path) as temporary:
            temporary.write_bytes(write(program, stream, list(cases[0].inputs)))
            differences[name] = worst = check(run_file(temporary), cases)
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


def in_float32(stream: Stream) -> Stream:
    """The stream in float32, whatever it was trained in: what the exported file computes."""
    config = replace(stream.pipeline.config, precision="float32")
    return replace(stream, pipeline=replace(stream.pipeline, config=config))


def trace(module: nn.Module, inputs: Arrays, stream: Stream) -> ExportedProgram:
    """The module as a graph, for any number of clips, and of frames where `any_length`."""
    batch = Dim("batch")
    if isinstance(module, FromJoints):
        shapes = [{0: batch, 1: Dim("frames")}]
    elif any_length(stream):
        shapes = [{0: batch, 2: Dim("frames", min=least_frames(stream))}]
    else:
        shapes = [{0: batch} for _ in inputs]
    with torch.no_grad(), quiet():
        return torch.export.export(
            module,
            tuple(torch.from_numpy(array) for array in inputs.values()),
            dynamic_shapes=tuple(shapes),
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' talk of their own insides off the screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check(run_file: Callable[[Arrays], np.ndarray], cases: Sequence[Case]) -> float:
    """The largest difference of a file's logits from PyTorch's; NaN where any is NaN."""
    return float(np.max([np.abs(run_file(case.inputs) - case.logits).max() for case in cases]))


# --- what files are checked on


def check_clips(stream: Stream, data_root: Path) -> tuple[list[np.ndarray], str]:
    """Clips (T, M, V, C) of the run's test split, or made ones; and where they come from."""
    benchmark = stream.description.benchmark
    folder = sharded(data_root).get(benchmark)
    if folder is None:
        return made_clips(stream), "made clips"
    manifest = load_manifest(folder)
    check_match(stream.description, manifest, stream.path)
    loader = EvalLoader(manifest, "test", batch=1)
    clips = []
    for batch in loader:
        shape = (int(batch.frames[0]), int(batch.bodies[0]), *batch.joints.shape[1:])
        clips.append(batch.joints.numpy().reshape(shape))
        if len(clips) == CHECK_CLIPS:
            break
    loader.close()
    return clips, f"the test clips of {benchmark}"


def made_clips(stream: Stream) -> list[np.ndarray]:
    """Wandering bodies of several lengths, one frame among them."""
    rng = np.random.default_rng(0)
    V, C, M = stream.pipeline.skeleton.num_joints, len(stream.pipeline.channels), stream.pipeline.bodies
    clips = []
    for number, frames in enumerate((73, 20, 1, 45, 300, 110)):
        bodies = 1 + number % M
        start = rng.normal(0, 0.5, (1, bodies, V, C))
        clips.append((start + rng.normal(0, 0.03, (frames, bodies, V, C)).cumsum(0)).astype(np.float32))
    return clips


def input_cases(stream: Stream, clips: Sequence[np.ndarray]) -> list[Case]:
    """Batches of network input: those clips in threes, and other lengths where the file takes them."""
    cases = [input_case(stream, clips[start : start + EXAMPLE]) for start in range(0, len(clips), EXAMPLE)]
    least = least_frames(stream)
    others = (least, least + 13, 2 * stream.pipeline.config.frames) if any_length(stream) else ()
    for other in others:
        config = replace(stream.pipeline.config, frames=other)
        longer = replace(stream, pipeline=replace(stream.pipeline, config=config))
        cases.append(input_case(longer, clips[:1]))
    return cases


@torch.inference_mode()
def input_case(stream: Stream, clips: Sequence[np.ndarray]) -> Case:
    x, presence = stream.pipeline.test(pack(clips), torch.device("cpu"))
    inputs = {"x": x.numpy()} if presence is None else {"x": x.numpy(), "presence": presence.numpy()}
    return Case(inputs, stream.model(x, presence=presence).numpy())


def joint_cases(stream: Stream, clips: Sequence[np.ndarray]) -> list[Case]:
    """Three clips cut to one length, and clips by themselves; PyTorch takes them as `tsgc evaluate` does."""
    alone = [joint_case(stream, [clip]) for clip in clips]
    shortest = min(len(clip) for clip in clips[:EXAMPLE])
    together = joint_case(stream, [clip[:shortest] for clip in clips[:EXAMPLE]])
    return [together, *alone]


def joint_case(stream: Stream, clips: Sequence[np.ndarray]) -> Case:
    filled = [fill_bodies(clip, stream.pipeline.bodies, stream.pipeline.absent_body) for clip in clips]
    return Case({"joints": np.stack(filled)}, stream.logits(pack(clips), torch.device("cpu")))


def fill_bodies(clip: np.ndarray, bodies: int, absent_body: str) -> np.ndarray:
    """A clip (T, M, V, C) with as many bodies as the network sees: absent ones 0, or copies of the first."""
    missing = bodies - clip.shape[1]
    if missing <= 0:
        return np.ascontiguousarray(clip[:, :bodies])
    filler = np.repeat(clip[:, :1], missing, axis=1)
    return np.concatenate([clip, filler if absent_body == "copy" else np.zeros_like(filler)], axis=1)


# --- the formats


def facts(stream: Stream) -> dict[str, str]:
    """What a file says of itself."""
    said = stream.description
    return {
        "benchmark": said.benchmark,
        "preset": said.preset,
        "skeleton": said.skeleton,
        "channels": said.axes,
        "variant": said.config.variant,
        "modality": said.config.modality,
        "frames": str(said.config.frames),
        "classes": orjson.dumps(said.class_names).decode(),
    }


def write_onnx(program: ExportedProgram, stream: Stream, names: Sequence[str]) -> bytes:
    """The program as ONNX, weights and all in one file."""
    onnx = needed("onnx")
    needed("onnxscript")
    with quiet():
        exported = torch.onnx.export(
            program, (), dynamo=True, external_data=False, verbose=False,
            input_names=list(names), output_names=["logits"],
        )  # fmt: skip
        assert exported is not None
        model = exported.model_proto
    axes = {"x": {0: "batch", 2: "frames"}, "presence": {0: "batch", 1: "frames"},
            "joints": {0: "batch", 1: "frames"}, "logits": {0: "batch"}}  # fmt: skip
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in axes[value.name].items():
            dim = value.type.tensor_type.shape.dim[axis]
            if dim.dim_param:  # not where T is fixed
                dim.dim_param = name
    onnx.helper.set_model_props(model, facts(stream))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def open_onnx(path: Path) -> Callable[[Arrays], np.ndarray]:
    """An ONNX file in ONNX Runtime, on the CPU."""
    session = needed("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def write_pt2(program: ExportedProgram, stream: Stream, names: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"tsgc.json": orjson.dumps(facts(stream)).decode()})
    return buffer.getvalue()


def open_pt2(path: Path) -> Callable[[Arrays], np.ndarray]:
    """A torch.export file, loaded again."""
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
    """A package of the extra `export`."""
    try:
        return __import__(name)
    except ImportError:
        raise TsgcError(
            f"ONNX needs the package {name}; install the extra with `pip install '.[export]'`,"
            " or give --format pt2"
        ) from None
