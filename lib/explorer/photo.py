"""A photo as the study's methods want a face: read with care, turned and cut so that its eyes lie where CelebA's aligned pictures have them."""

import io

import cv2
import numpy as np
from PIL import Image, ImageOps

from lib.data import Crop, DataError

EYES = ((69.6, 111.7), (107.6, 111.7))  # in CelebA's aligned 178x218 pictures, the viewer's left first; the drawn faces have them there too
FRAME = (178, 218)
MOST = 40_000_000  # pixels of a picture that is decoded
LEAST = 32  # pixels of its shorter side
APART = 6  # pixels between the eyes, at least


class ExplorerError(DataError):
    """What the reader can mend. The message is shown in the page as it is."""


def read_photo(content: bytes) -> Image.Image:
    """An RGB picture, turned upright by its own note about the camera. Raises ExplorerError for what is no picture, is damaged, is huge
    (its size is read before any pixel is decoded) or is tiny."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST:
                size = f"{image.width} x {image.height} pixels, over {MOST // 1_000_000} million"
                raise ExplorerError(f"This picture is huge: {size}. Make it smaller and try again.")
            if min(image.size) < LEAST:
                raise ExplorerError(f"This picture is tiny: {image.width} x {image.height} pixels. Give one of at least {LEAST} x {LEAST}.")
            return ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError:
        raise ExplorerError("This picture is huge: far over 40 million pixels. Make it smaller and try again.") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        if isinstance(error, ExplorerError):
            raise
        raise ExplorerError("This file is not a picture that can be read. Give a PNG, JPEG or WebP file.") from None


def align(image: Image.Image, eyes, size: int) -> np.ndarray:
    """Turn, scale and shift a photo so that the eyes lie where CelebA's aligned pictures have them, then the one crop rule: uint8 (3, S, S).

    eyes: ((x, y), (x, y)), the centres of the viewer's left and right eye, as shares of width and height. What lies beyond the photo's border
    repeats the border. Raises ExplorerError for eyes that are missing, outside, in the wrong order or too close to be a face.
    """
    points = np.asarray(eyes if eyes is not None else [], float)
    if points.shape != (2, 2) or not np.isfinite(points).all():
        raise ExplorerError("The eyes are not given yet. Click on the centre of the left eye in the picture, then on that of the right eye.")
    if not ((points >= 0) & (points <= 1)).all():
        raise ExplorerError("An eye lies outside the picture. Click on the eyes again.")
    left, right = points * image.size
    apart = float(np.hypot(*(right - left)))
    if right[0] <= left[0]:
        raise ExplorerError("The first eye must be the one on the left side of the picture, the second the one on the right. Click on them again.")
    if apart < APART:
        raise ExplorerError(f"The eyes are {apart:.0f} pixels apart: too few to see a face. Click on the eyes again, or give a larger photo.")
    frame = np.multiply(FRAME, max(1, round(size / FRAME[0] * 2)))  # twice the pixels that are needed, to shrink from
    source, target = left + right, (np.array(EYES) * (frame[0] / FRAME[0]))
    turn = complex(*(target[1] - target[0])) / complex(*(right - left))  # a rotation with a scale
    move = target.mean(0) - np.array([turn.real * source[0] - turn.imag * source[1], turn.imag * source[0] + turn.real * source[1]]) / 2
    pixels_, shrink = np.asarray(image), max(1, int(1 / abs(turn)))
    if shrink > 1:  # averaged first: the warp below looks at four neighbours only
        pixels_ = cv2.resize(pixels_, (max(1, image.width // shrink), max(1, image.height // shrink)), interpolation=cv2.INTER_AREA)
    sx, sy = image.width / pixels_.shape[1], image.height / pixels_.shape[0]
    # OpenCV counts from pixel centres, the points here from the corner of the first pixel: hence the halves.
    a = np.array([[turn.real * sx, -turn.imag * sy, 0], [turn.imag * sx, turn.real * sy, 0]])
    a[:, 2] = move + a[:, :2] @ [0.5, 0.5] - 0.5
    warped = cv2.warpAffine(pixels_, a, tuple(int(v) for v in frame), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return Crop(size).apply(Image.fromarray(warped))


def find_eyes(image: Image.Image) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both eyes as shares of width and height, by dlib's five landmarks of the largest face. Raises ExplorerError if no face is found, or
    without the packages dlib and face_recognition_models, which this study does not install."""
    try:
        import dlib
        from face_recognition_models import pose_predictor_five_point_model_location
    except ImportError:
        raise ExplorerError("Finding eyes needs the packages dlib and face_recognition_models, which are not installed. Click on the eyes.") from None
    pixels_ = np.asarray(image)
    boxes = dlib.get_frontal_face_detector()(pixels_, 1)
    if not boxes:
        raise ExplorerError("No face was found in this picture. Click on the eyes yourself, or give another photo.")
    shape = dlib.shape_predictor(pose_predictor_five_point_model_location())(pixels_, max(boxes, key=lambda box: box.area()))
    points = np.array([(shape.part(k).x, shape.part(k).y) for k in range(4)], float)  # the corners of one eye, then of the other
    centres = sorted((points[:2].mean(0) / image.size, points[2:].mean(0) / image.size), key=lambda p: p[0])
    return tuple(tuple(map(float, p)) for p in centres)
