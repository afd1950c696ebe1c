"""What is known of data and settings before a picture is decoded or a network trained."""

from collections.abc import Sequence

from lib.data.batches import Batches
from lib.data.errors import check_seed
from lib.data.faceset import FaceSet, outline
from lib.data.splits import Split, make_split, require_test_faces


def beforehand(data: str, size: int, *, n: int = 20000, rule: str = "official", seed: int = 0, stages: Sequence = ()) -> tuple[FaceSet, Split]:
    """The `outline` of a set and its split, after all checks that need no picture. stages: of a training, with
    pools made of labels and landmarks alone. DataError for a wrong list, a seed beyond 64 bits, an attribute that is
    missing or has under two test faces of a label, and as `make_pools`."""
    check_seed(seed)
    faces = outline(data, size, n=n)
    split = make_split(faces, rule)
    for attribute in dict.fromkeys(a for stage in stages for a in stage.attributes):
        require_test_faces(faces, split, attribute)
    make_pools(faces, split, seed, stages)
    return faces, split


def make_pools(faces: FaceSet, split: Split, seed: int, stages: Sequence) -> None:
    """Make all training pools of the stages, and throw them away. DataError for one that cannot be made, as without landmarks
    that are needed, and for a batch that is larger than its pool or odd for the balanced sampler."""
    for stage in stages:
        for examples in {stage.examples} | {update.examples or stage.examples for update in stage.updates}:
            pool = examples(faces, split, seed) if examples else split.train
            Batches(faces, pool, stage.attributes, stage.batch, seed, stage.sampler)
