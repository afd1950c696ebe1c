"""A photo as the study's methods want a face: read with care, turned and cut so that its eyes lie where CelebA's
aligned pictures have them."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lib.data import Crop
from lib.data.crop import upright
from lib.sources import StudyError

EYES = ((69.6, 111.7), (107.6, 111.7))  # in CelebA's aligned 178x218 pictures, the viewer's left first
FRAME = (178, 218)
MOST = 40_000_000  # pixels of a picture that is decoded
LEAST = 32  # pixels of its shorter side
APART = 6  # pixels between the eyes, at least
ASTRONAUT = Path(__file__).parent / "astronaut.jpg"  # Eileen Collins, a portrait by NASA (public domain): a part of scikit-image's
ASTRONAUT_EYES = ((0.414, 0.422), (0.578, 0.432))


class ExplorerError(StudyError):
    """What the reader can mend. The message is shown in the page as it is."""


def read_photo(content: bytes) -> Image.Image:
    """An RGB picture, turned upright by its own note about the camera. Raises ExplorerError for what is no picture, is
    damaged, is huge (its size is read before any pixel is decoded) or is tiny."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            size = f"{image.width} x {image.height} pixels"
            if image.width * image.height > MOST:
                raise ExplorerError(f"This picture is huge: {size}, over 40 million. Make it smaller and try again.")
            if min(image.size) < LEAST:
                raise ExplorerError(f"This picture is tiny: {size}. Give one of at least {LEAST} x {LEAST}.")
            return upright(image)
    except Image.DecompressionBombError:
        raise ExplorerError("This picture is huge: far over 40 million pixels. Make it smaller and try again.") from None
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for damaged files
        raise ExplorerError("This file is not a picture that can be read. Give a PNG, JPEG or WebP file.") from None


def align(image: Image.Image, eyes, size: int) -> np.ndarray:
    """Turn, scale and shift a photo so that the eyes lie where CelebA's aligned pictures have them, then the one crop
    rule: uint8 (3, S, S). What lies beyond the photo's border repeats the border.

    eyes: ((x, y), (x, y)), the centres of the viewer's left and right eye, as shares of width and height. Raises
    ExplorerError for eyes that are missing, outside, in the wrong order or too close to be a face.
    """
    points = np.asarray(eyes if eyes is not None else [], float)
    if points.shape != (2, 2) or not np.isfinite(points).all():
        raise ExplorerError("The eyes are not given yet. Click on the left eye in the picture, then on the right one.")
    if not ((points >= 0) & (points <= 1)).all():
        raise ExplorerError("An eye lies outside the picture. Click on the eyes again.")
    left, right = points * image.size
    apart = float(np.hypot(*(right - left)))
    if right[0] <= left[0]:
        raise ExplorerError("The first eye must be the one on the left side of the picture. Click on them again.")
    if apart < APART:
        raise ExplorerError(f"The eyes are {apart:.0f} pixels apart: too few to see a face. Give a larger photo.")
    enlarge = max(1, round(size / FRAME[0] * 2))  # twice the pixels that are needed, to shrink from
    target = np.array(EYES) * enlarge
    shrink = max(1, int(apart / np.hypot(*(target[1] - target[0]))))
    pixels = np.asarray(image.reduce(shrink))  # averaged first: the warp below looks at four neighbours only
    # The third point makes it a rotation with a scale. OpenCV counts from pixel centres: hence the halves.
    quarter = np.array([[0, 1], [-1, 0]])
    three = [np.float32([a, b, a + (b - a) @ quarter]) - 0.5 for a, b in ((left / shrink, right / shrink), target)]
    frame, how = [side * enlarge for side in FRAME], {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    warped = cv2.warpAffine(pixels, cv2.getAffineTransform(*three), frame, **how)
    return Crop(size).apply(Image.fromarray(warped))
