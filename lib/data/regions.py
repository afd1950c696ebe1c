"""Landmark boxes: the part of a face that the edit of an attribute should stay in."""

import numpy as np
import torch
from torch import Tensor

from lib.data.celeba import FRAME_WIDTH
from lib.data.faceset import FaceSet

# Mean of the official landmarks of CelebA's aligned images 000001-000100 (list_landmarks_align_celeba), 178x218 frame. Standard deviations:
# eyes and mouth 1.2-3.5 px, nose 6.5 px in x and 4.8 px in y, so one box for all faces is close for eyes and mouth.
MEAN_LANDMARKS = ((69.12, 111.18), (107.75, 111.32), (87.84, 134.86), (71.52, 151.82), (105.41, 152.19))
EYE_MARGIN = 18, 12  # px on each side in x and y of the eye centres, in the 178x218 frame
MOUTH_MARGIN = 10, 14  # px of the mouth corners


def region_source(faces: FaceSet) -> str:
    """Where the boxes of this set come from, for tables and reports."""
    if faces.landmarks is None:
        return "the same box for every face: mean of 100 official CelebA landmarks, because the set has none"
    return f"landmarks of each face: {faces.landmark_source}"


def eye_box(faces: FaceSet, index=None) -> Tensor:
    """(n,1,S,S) bool: the rectangle around both eye centres and EYE_MARGIN. index: n rows of the set, None for all."""
    return _around(faces, index, (0, 1), EYE_MARGIN)


def mouth_box(faces: FaceSet, index=None) -> Tensor:
    """(n,1,S,S) bool: the rectangle around both mouth corners and MOUTH_MARGIN."""
    return _around(faces, index, (3, 4), MOUTH_MARGIN)


def lower_face(faces: FaceSet, index=None) -> Tensor:
    """(n,1,S,S) bool: every pixel row below the nose tip."""
    y = torch.arange(faces.size) + 0.5
    below = y > _points(faces, index)[:, 2, 1, None]
    return below[:, None, :, None].expand(-1, 1, faces.size, faces.size)


# attribute -> the box that its edit should stay in; the others have none
BOXES = {"Eyeglasses": eye_box, "Mouth_Slightly_Open": mouth_box, "Smiling": mouth_box}
BOXES |= dict.fromkeys(("No_Beard", "Mustache", "Goatee", "Sideburns"), lower_face)


def _points(faces: FaceSet, index) -> Tensor:
    """(n,5,2) float32 landmarks in the crop."""
    points = faces.landmarks
    if points is None:
        mean = faces.crop.points(np.array(MEAN_LANDMARKS), FRAME_WIDTH, 218)
        points = np.broadcast_to(mean, (len(faces), 5, 2))
    return torch.tensor(points if index is None else points[np.asarray(index)], dtype=torch.float32)


def _around(faces: FaceSet, index, corners: tuple[int, int], margin: tuple[int, int]) -> Tensor:
    points = _points(faces, index)[:, list(corners)]  # (n,2,2)
    reach = torch.tensor(margin) * (faces.size / FRAME_WIDTH)
    low, high = points.amin(1) - reach, points.amax(1) + reach  # (n,2) as (x,y); a pixel belongs to the box if its centre does
    pixel = torch.arange(faces.size) + 0.5
    x, y = ((pixel >= low[:, k, None]) & (pixel <= high[:, k, None]) for k in (0, 1))
    return (y[:, :, None] & x[:, None, :])[:, None]
