"""Tiny made clips in the formats of other projects, for tests."""

import json
import pickle
from pathlib import Path

import numpy as np


def kinetics_frame(index: int, bodies: int, rng: np.random.Generator) -> dict:
    skeleton = [
        {
            "pose": rng.uniform(0.2, 0.8, 36).round(3).tolist(),
            "score": rng.uniform(0.1, 1, 18).round(3).tolist(),
        }
        for _ in range(bodies)
    ]
    return {"frame_index": index, "skeleton": skeleton}


def kinetics_clip(label: str, index: int, frames: int = 20, bodies: int = 2, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    data = [kinetics_frame(number, bodies, rng) for number in range(1, frames + 1)]
    return {"data": data, "label": label, "label_index": index}


KINETICS_CLASSES = ("abseiling", "air drumming", "zumba")


def write_kinetics(folder: Path, train: int = 9, val: int = 6) -> Path:
    """The field's download: two folders of clips, two label files beside them."""
    for subset, count, seed in (("train", train, 0), ("val", val, 1000)):
        labels = {}
        (folder / f"kinetics_{subset}").mkdir(parents=True)
        for number in range(count):
            index = number % len(KINETICS_CLASSES)
            name = f"-{subset[0]}{number:08d}_"  # eleven characters, as YouTube names its films
            clip = kinetics_clip(KINETICS_CLASSES[index], index, frames=18 + number % 16, seed=seed + number)
            (folder / f"kinetics_{subset}" / f"{name}.json").write_text(json.dumps(clip))
            labels[name] = {
                "has_skeleton": True, "label": KINETICS_CLASSES[index], "label_index": index,
            }  # fmt: skip
        (folder / f"kinetics_{subset}_label.json").write_text(json.dumps(labels))
    return folder


def ntu_names(count: int) -> list[str]:
    """Names of NTU-60; performers 1, 2 and 4 train, 3 tests."""
    return [
        f"S001C{i % 3 + 1:03}P{i % 4 + 1:03}R{i // 60 % 2 + 1:03}A{i // 4 % 60 + 1:03}" for i in range(count)
    ]


def pyskl_split(names: list[str]) -> dict[str, list[str]]:
    return {
        "xsub_train": [name for name in names if name[8:12] != "P003"],
        "xsub_val": [name for name in names if name[8:12] == "P003"],
        "xview_train": [name for name in names if name[4:8] != "C001"],
        "xview_val": [name for name in names if name[4:8] == "C001"],
    }


def pyskl_3d(count: int = 240) -> dict:
    """What `ntu60_3danno.pkl` holds: every third clip has a second body."""
    rng, annotations = np.random.default_rng(0), []
    for i, name in enumerate(ntu_names(count)):
        keypoint = rng.normal(0, 0.5, (2, 18 + i % 5, 25, 3)).astype(np.float16)
        if i % 3:
            keypoint[1] = 0
        annotations.append(
            {"frame_dir": name, "label": int(name[-3:]) - 1, "keypoint": keypoint,
             "total_frames": keypoint.shape[1]}
        )  # fmt: skip
    return {"split": pyskl_split(ntu_names(count)), "annotations": annotations}


def pyskl_2d(count: int = 240) -> dict:
    """What `ntu60_hrnet.pkl` holds: pixels, and a score for each."""
    rng, annotations = np.random.default_rng(0), []
    for i, name in enumerate(ntu_names(count)):
        shape = (1 + (i % 3 == 0), 18 + i % 5, 17)
        annotations.append(
            {"frame_dir": name, "label": int(name[-3:]) - 1, "img_shape": (1080, 1920),
             "original_shape": (1080, 1920), "total_frames": shape[1],
             "keypoint": rng.uniform(0, 1080, (*shape, 2)).astype(np.float16),
             "keypoint_score": rng.uniform(0.1, 1, shape).astype(np.float16)}
        )  # fmt: skip
    return {"split": pyskl_split(ntu_names(count)), "annotations": annotations}


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def npz_arrays(train: int = 12, test: int = 8, classes: int = 60, frames: int = 30) -> dict[str, np.ndarray]:
    """What `NTU60_CS.npz` holds: padded clips, every third with a second body, one-hot labels."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", train), ("test", test)):
        x = np.zeros((count, frames, 150), np.float32)
        for i in range(count):
            T = 18 + i % (frames - 18)
            x[i, :T, : 75 if i % 3 else 150] = rng.standard_normal((T, 75 if i % 3 else 150))
        arrays[f"x_{split}"] = x
        arrays[f"y_{split}"] = np.eye(classes)[np.arange(count) % classes]
    return arrays


def write_npz(path: Path, arrays: dict[str, np.ndarray], *, packed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return path
