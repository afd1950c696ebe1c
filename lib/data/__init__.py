"""Face sets: `load` (faceset.py) reads CelebA's layout (celeba.py) or the built-in renderer into a FaceSet; its
pictures pass crop.py and cache.py. sparse.py hidden labels; lookup.py which row a picture is; checks.py what is known
beforehand; lfw.py and afhq.py two further sets; `python -m lib.data` writes drawn faces as a folder and checks
folders."""

from lib.data.afhq import domain_names, load_domains
from lib.data.batches import Batch, Batches, Examples
from lib.data.checks import beforehand
from lib.data.crop import Crop
from lib.data.errors import DataError
from lib.data.faceset import FaceSet, load, outline, to_uint8
from lib.data.lfw import load_lfw
from lib.data.regions import BOXES, eye_box, lower_face, mouth_box, region_source
from lib.data.splits import Split, make_split, split_most_images, split_random

__all__ = [
    "BOXES", "Batch", "Batches", "Crop", "DataError", "Examples", "FaceSet", "Split", "beforehand", "domain_names", "eye_box", "load",
    "load_domains", "load_lfw", "lower_face", "make_split", "mouth_box", "outline", "region_source", "split_most_images", "split_random", "to_uint8",
]  # fmt: skip
