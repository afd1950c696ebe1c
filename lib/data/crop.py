"""The one crop rule of the study: upright, the centre square of the full width, then a bilinear antialiased resize."""

from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps

from lib.data.errors import DataError


def upright(image: Image.Image) -> Image.Image:
    """The picture in RGB, turned as its EXIF orientation says: as every viewer shows it."""
    return ImageOps.exif_transpose(image).convert("RGB")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of `upright(image)`, without decoding it."""
    return image.size[::-1] if image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8) else image.size


@dataclass(frozen=True)
class Crop:
    """Crop rule with output side `size` in pixels; 178x218 uses the box (0, 20, 178, 198), 89x109 the box (0, 10, 89, 99)."""

    size: int

    def __post_init__(self):
        if not isinstance(self.size, int) or not 8 <= self.size <= 1024:
            raise DataError(f"Crop: size is {self.size!r}. Give an integer from 8 to 1024 (pixels).")

    def __str__(self):
        return f"centre square of the full width, bilinear antialiased to {self.size}x{self.size}"

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the square in a width x height image; DataError if the image is wider than high."""
        if width > height:
            raise DataError(f"Crop: an image of {width}x{height} is wider than high. Give upright or square images.")
        top = (height - width) // 2
        return 0, top, width, top + width

    def apply(self, image: Image.Image) -> np.ndarray:
        """RGB image of any upright size -> uint8 (3, S, S). DataError if the image is wider than high."""
        # Cropping first keeps pixels outside the box out of the filter's support, which resize(box=...) would not.
        # Pillow's BILINEAR widens its triangle filter when it shrinks, i.e. it is antialiased.
        square = image.crop(self.box(*image.size)).resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))

    def points(self, points: np.ndarray, width: int, height: int) -> np.ndarray:
        """(x, y) coordinates (..., 2) in a width x height image -> in the S x S crop; the pixel of row i, column j covers [j,j+1] x [i,i+1]."""
        left, top, right, _ = self.box(width, height)
        return (np.asarray(points) - (left, top)) * (self.size / (right - left))
