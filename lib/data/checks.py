"""What is known of data and settings before a picture is decoded or a network trained."""

from collections.abc import Sequence

from lib.data.batches import Batches
from lib.data.errors import check_seed, fail
from lib.data.faceset import FaceSet, outline
from lib.data.splits import Split, make_split, require_test_faces


def beforehand(
    data: str,
    size: int,
    *,
    n: int = 20000,
    rule: str = "official",
    seed: int = 0,
    attributes: Sequence[str] = (),
    batch: int = 1,
    sampler: str = "natural",
    landmarks: bool = False,
) -> tuple[FaceSet, Split]:
    """The `outline` of a set and its split, after all checks that need no picture; within seconds.

    DataError for a folder or list that is missing or wrong, an attribute that the set lacks or that has fewer than two test faces of
    either label, a seed beyond 64 bits, a batch that is larger than the training part or odd for the balanced sampler, and, where
    `landmarks` are needed, a set without them.
    """
    check_seed(seed)
    faces = outline(data, size, n=n)
    split = make_split(faces, rule)
    for attribute in attributes:
        require_test_faces(faces, split, attribute)
    if attributes:
        Batches(faces, split.train, attributes, batch, seed, sampler)
    if landmarks and faces.landmarks is None:
        remedy = "Add list_landmarks_align_celeba.txt from the folder Anno of CelebA's official archive"
        fail(faces.name, None, "the set has no landmarks, which this method needs", remedy)
    return faces, split
