"""The tables of docs/your-own-data.md, and the recipes of docs/from-video.md, against the code."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made import recordings as made

from pipelines.formats.table import ARRAYS, FORMATS, sniff
from pipelines.skeleton import SKELETONS

DOCS = Path(__file__).parents[3] / "docs"
GUIDE = (DOCS / "your-own-data.md").read_text()
RECIPES = re.findall(r"```python\n(.*?)```", (DOCS / "from-video.md").read_text(), re.DOTALL)


def rows(head: str) -> list[list[str]]:
    """The cells of the table whose first line begins so."""
    lines = GUIDE[GUIDE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_format_is_in_the_table() -> None:
    table = {row[0].strip("`"): row for row in rows("| `format:` |")}
    assert list(table) == [*FORMATS, ARRAYS]
    for name, form in FORMATS.items():
        _, what, _, skeletons, stored = table[name]
        assert what == form.what
        assert [one for one in re.findall(r"`([a-z0-9-]+-\d+)`", skeletons) if one in SKELETONS] == list(
            form.skeletons
        )
        assert stored.startswith(f"`{form.channels}`")
        if form.channels == "xys":
            assert form.units in stored


def test_every_skeleton_is_in_the_table() -> None:
    table = rows("| `skeleton:` |")
    assert [row[0].strip("`") for row in table] == list(SKELETONS)
    for row, body in zip(table, SKELETONS.values()):
        root = next(joint for joint, parent in enumerate(body.parents) if joint == parent)
        assert row[1:4] == [str(body.num_joints), body.joints[root], body.joints[body.centre]]


# The recipes, with stand-ins for the estimators: what they write is what is read --------------------------


def test_recipes_are_short() -> None:
    assert len(RECIPES) == 2 and all(len(re.findall(r"\S.*", recipe)) <= 15 for recipe in RECIPES)


class Film:
    """What cv2.VideoCapture gives of a film of three frames."""

    def __init__(self, path: str) -> None:
        self.left = 3

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return self.left >= 0, np.zeros((4, 4, 3), np.uint8)

    def get(self, what: int) -> float:
        return 25.0


def test_the_recipe_for_mediapipe_writes_what_is_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made.in_the_world(made.walking(33, frames=1))[0]
    people = [[SimpleNamespace(**point, presence=1.0, name=None) for point in made.landmarks(world)]]

    class Landmarker:
        """A context that finds one person in every picture."""

        def __enter__(self) -> "Landmarker":
            return self

        def __exit__(self, *error: object) -> None: ...

        def detect_for_video(self, picture: object, milliseconds: int) -> SimpleNamespace:
            return SimpleNamespace(pose_world_landmarks=people if milliseconds != 40 else [])

    vision = SimpleNamespace(
        PoseLandmarkerOptions=lambda **options: options,
        RunningMode=SimpleNamespace(VIDEO=1),
        PoseLandmarker=SimpleNamespace(create_from_options=lambda options: Landmarker()),
    )
    mediapipe = SimpleNamespace(
        tasks=SimpleNamespace(vision=vision, BaseOptions=lambda **options: options),
        Image=lambda **parts: parts,
        ImageFormat=SimpleNamespace(SRGB=1),
    )
    cv2 = SimpleNamespace(VideoCapture=Film, CAP_PROP_FPS=5, COLOR_BGR2RGB=4, cvtColor=lambda data, how: data)
    monkeypatch.setitem(sys.modules, "mediapipe", mediapipe)
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    made.write(here / "videos/wave/anna.mp4", b"")
    exec(RECIPES[0], {})
    data = (here / "clips/wave/anna.json").read_bytes()
    form = sniff("anna.json", data)
    assert form is FORMATS["mediapipe-world"]
    frames = form.read("anna.json", data, SKELETONS["mediapipe-33"]).frames
    assert [len(bodies) for bodies in frames] == [1, 0, 1]
    np.testing.assert_allclose(frames[0][0].joints, world * (-1, -1, 1))


def test_the_recipe_for_mmpose_writes_what_is_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inferencer dumps its predictions itself, in the form that test_formats reads."""
    called = []

    class Inferencer:
        def __init__(self, model: str) -> None:
            called.append(model)

        def __call__(self, video: str, pred_out_dir: str):
            called.append(video)
            made.write(Path(pred_out_dir, f"{Path(video).stem}.json"), made.mmpose_json(made.filmed(17)))
            yield {}

    monkeypatch.setitem(sys.modules, "mmpose", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mmpose.apis", SimpleNamespace(MMPoseInferencer=Inferencer))
    made.write(here / "videos/wave/anna.mp4", b"")
    exec(RECIPES[1], {})
    assert called == ["human", "videos/wave/anna.mp4"]
    data = (here / "clips/wave/anna.json").read_bytes()
    assert sniff("anna.json", data) is FORMATS["mmpose"] and json.loads(data)[0]["frame_id"] == 0
