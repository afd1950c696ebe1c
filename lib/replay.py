"""An edit as one call: on a GPU all kernels of an edit are recorded once, as a CUDA graph, and then started together."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.step import reason


@torch.no_grad()
def recorded(work: Callable[[Tensor], object], x: Tensor) -> Callable[[Tensor], object]:
    """`work` for batches shaped like x (B, ...), on x's GPU: a function of x that returns what `work` returned while it was recorded, whose tensors
    every call fills anew. Raises RuntimeError where there is no GPU, or where `work` makes the processor wait for a value or copies one to the GPU (a
    target must be a tensor there)."""
    if x.device.type != "cuda":
        raise RuntimeError(f"only what runs on a GPU can be recorded; this is on {x.device}")
    place, stream = x.clone(), torch.cuda.Stream(x.device)
    stream.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # the libraries choose their kernels
            work(place)
    torch.cuda.current_stream(x.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        out = work(place)

    def replay(x: Tensor) -> object:
        place.copy_(x)
        graph.replay()
        return out

    return replay


def ways(work: Callable[[Tensor], object], x: Tensor) -> tuple[dict[str, Callable[[Tensor], object]], str]:
    """{"": `work`}, and under "CUDA graph" the recording of it for batches like x, if it can be made; and why it cannot ("" on a processor)."""
    if x.device.type != "cuda":
        return {"": work}, ""
    try:
        return {"": work, "CUDA graph": recorded(work, x)}, ""
    except RuntimeError as error:
        return {"": work}, reason(error)
