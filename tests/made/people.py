"""Bodies as actors are chosen from."""

import numpy as np
from hypothesis import strategies as st

V = 25


# A person with bones of plausible length: joint -> place in metres, y up.
PLACES = {
    0: (0, 0, 0), 1: (0, 0.3, 0), 20: (0, 0.5, 0), 2: (0, 0.58, 0), 3: (0, 0.75, 0),
    4: (-0.2, 0.48, 0), 5: (-0.24, 0.2, 0), 6: (-0.25, -0.05, 0), 7: (-0.25, -0.12, 0), 21: (-0.25, -0.2, 0),
    22: (-0.2, -0.12, 0), 8: (0.2, 0.48, 0), 9: (0.24, 0.2, 0), 10: (0.25, -0.05, 0), 11: (0.25, -0.12, 0),
    23: (0.25, -0.2, 0), 24: (0.2, -0.12, 0), 12: (-0.1, -0.05, 0), 13: (-0.1, -0.45, 0),
    14: (-0.1, -0.85, 0), 15: (-0.1, -0.88, 0.1), 16: (0.1, -0.05, 0), 17: (0.1, -0.45, 0),
    18: (0.1, -0.85, 0), 19: (0.1, -0.88, 0.1),
}  # fmt: skip


STANDING = np.array([PLACES[joint] for joint in range(V)]) + np.array([0, 0, 3.0])


LYING = STANDING[:, [1, 0, 2]]


def person(frames, at=0.0, move=0.1, shape=STANDING):
    """Joints (frames, 25, 3): standing `at` metres aside, swaying by `move` metres, high joints more."""
    sway = move * np.sin(np.arange(frames) / 3)[:, None] * (1 + shape[:, 1])
    joints = np.repeat(shape[None], frames, axis=0)
    joints[..., 0] += at + sway
    return joints.astype(np.float32)


VALUES = st.sampled_from([0.0, 1e-30, 0.3, -0.3, 1.0, 5.0, -1e30])


@st.composite
def any_clip(draw):
    """Well-formed clips of up to five ids, some of them bodies that nobody has seen."""
    frames = []
    shapes = {
        str(body): draw(st.sampled_from([STANDING, LYING, STANDING[::-1], 0 * STANDING])) for body in range(5)
    }
    for _ in range(draw(st.integers(0, 4))):
        here = draw(st.lists(st.sampled_from("01234"), unique=True, max_size=4))
        for _ in range(draw(st.integers(1, 15))):
            moved = {body: shapes[body] + draw(VALUES) for body in here}
            frames.append({body: np.float32(joints) for body, joints in moved.items()})
    return frames
