"""Cleaning of NTU clips, corrected preset: the people of a clip, and their two tracks.

Without the quirks of `denoise.py`: frames keep their true numbers, motion is change over time, tracks are
filled frame by frame and nothing is overwritten. Every body-frame of the file is either in the result or
counted under the rule that dropped it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.denoise import MAX_BAD_FRAMES, MIN_FRAMES, Track, spread_frames
from pipelines.linking import Person, people_of
from pipelines.skeleton import NTU_25

# A person's length along the bones, head to foot, whatever the posture. Kinect v2 measures performers at
# 1.4 to 1.6 m; the limits leave room for children and for legs that are hidden behind a table.
STATURE = (0.8, 2.4)  # metres, median over the frames
MAX_BONE_CHANGE = 0.35  # standard deviation over mean of a bone's length; people 0.03 to 0.11, median bone
# Square metres of motion: 2 cm about a joint's mean place; the sensor's noise alone is half of it.
STILL = 4e-4
