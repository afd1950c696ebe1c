"""Drawings say what the modules do: kernels, strides, dilations and shapes in the order of the calls."""

import torch
from torch import nn

from lib import schematics
from lib.papers import atigan
from lib.schematics import Layer


def test_a_trace_reads_layers_off_the_modules():
    first, second = nn.Conv2d(3, 4, 5, 2, 2), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 3, padding=4, dilation=4), nn.ConvTranspose2d(6, 2, 4, 2, 1))
    x = torch.zeros(1, 3, 16, 16)
    found = schematics.trace(lambda: second(first(x)), second, first)
    assert found == [Layer("5x5 /2", (4, 8, 8)), Layer("3x3 d4", (6, 8, 8)), Layer("4x4 x2", (2, 16, 16))]
    assert schematics.trace(lambda: second(first(x)), first) == found[:1]
    assert schematics.trace(lambda: second(first(x)), second, first, given="face") == [Layer("face", (3, 16, 16)), *found]
    assert not first._forward_hooks and not second[1]._forward_hooks
    up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 2, 3, padding=1))
    assert schematics.trace(lambda: up(x), up) == [Layer("x2", (3, 32, 32)), Layer("3x3", (2, 32, 32))]


def test_blocks_count_as_one_layer():
    G = atigan.build(atigan.Config(size=64, g_width=2)).G
    x, c = torch.zeros(1, 3, 64, 64), torch.zeros(1, 4)
    layers = schematics.trace(lambda: G(x, c), G, blocks=(atigan.DilatedBlock,))
    blocks = ["block", "block", "block d2", "block d4", "block d2", "block"]  # the dilations of 128 pixels, halved
    assert [layer.what for layer in layers] == ["7x7", "4x4 /2", "4x4 /2", *blocks, "4x4 x2", "4x4 x2", "7x7"]
    assert [layer.shape for layer in layers[2:10]] == [(8, 16, 16)] * 7 + [(4, 32, 32)]


def test_drawings_write_every_shape():
    lanes = {"net": [Layer("3x3 /2", (8, 16, 16)), Layer("block d2", (8, 16, 16))], "head": [Layer("1x1", (1, 2, 2))]}
    words = [t.get_text() for t in schematics.bars(lanes, "title").axes[0].texts]
    assert words.count("8\nx16") == 2 and {"3x3\n/2", "block\nd2", "1\nx2", "net", "head"} <= set(words)
    flow = schematics.flow({"x": (0, 0, "face"), "R": (1, 0, "R")}, [("x", "R", "masked")], "title")
    assert {"face", "R", "masked"} <= {t.get_text() for t in flow.axes[0].texts} and len(flow.axes[0].patches) == 2
