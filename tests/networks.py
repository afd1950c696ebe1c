"""What tests of networks share."""


def count(net) -> int:
    """How many parameters it has."""
    return sum(p.numel() for p in net.parameters())


def shapes(layers, x, kinds) -> list[tuple[int, ...]]:
    """Shapes, without the batch, after every layer of these kinds of a Sequential."""
    out = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, kinds):
            out.append(tuple(x.shape[1:]))
    return out
