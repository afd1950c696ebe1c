"""Methods that the papers compare with, one file each, with the plain names of `lib.papers`.

They are trained through `lib.runs.trained` on the data and split of the run that asks for them. Every file cites its paper and the public
code that the details come from. CLAIMS is empty: what is claimed about them stands in the papers that compare with them.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1], the edited face. mask: None, these methods have none."""

    image: Tensor
    mask: None = None
