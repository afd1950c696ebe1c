"""What every method promises: each update trains its own networks, a configuration that cannot run is refused, profiles."""

from types import SimpleNamespace

import pytest
import torch

from lib.baselines import context_encoder, cyclegan, resgan, stargan, starganv2, stgan
from lib.papers.atigan import model as atigan
from lib.papers.bridgegan import model as bridgegan
from lib.papers.diat import model as diat
from lib.papers.sagan import model as sagan
from lib.papers.sggan import model as sggan
from lib.training import loop
from lib.training.config import ParameterError


@pytest.mark.parametrize("module", [sagan, sggan, bridgegan, cyclegan, resgan, stargan, starganv2, stgan])
def test_each_update_trains_its_own_networks(module):
    """Nothing reaches another network: neither D's loss, its penalty included, G, nor G's loss D."""
    cfg = module.PROFILES["smoke"]()
    stage = module.stages(cfg)[0]
    rng = torch.Generator().manual_seed(0)
    for update in stage.updates:
        nets, n = module.build(cfg), len(stage.attributes)
        labels = (torch.arange(4)[:, None] + torch.arange(n)) % 2
        batch = SimpleNamespace(x=torch.rand(4, 3, 32, 32, generator=rng) * 2 - 1, y=labels.float(), rng=rng)
        modules = loop.networks(nets)
        update.loss(nets, batch, cfg)[0].backward()
        others = [name for name in modules if name not in update.trains]
        for p in (p for name in update.trains for p in modules[name].parameters()):
            assert p.grad is not None and torch.isfinite(p.grad).all(), update.name
        if update.name.startswith("D"):
            assert all(p.grad is None for name in others for p in modules[name].parameters()), update.name


@pytest.mark.parametrize(
    ("module", "fields", "message"),
    [
        (sagan, {"attribute": "Glasses"}, "attribute"), (sagan, {"size": 60}, "multiple of 16"),
        (sagan, {"batch": 0}, "batch = 0"), (sagan, {"slope": 1.5}, "slope"), (sagan, {"adversarial": "hinge"}, "wgan-gp"),
        (sggan, {"attributes": "beard"}, "beard"), (sggan, {"attributes": "hair, hair"}, "different names"),
        (sggan, {"size": 80}, "size = 80"), (sggan, {"residual": "RRRIL"}, "RRIL"), (sggan, {"lr": 0.0}, "positive"),
        (sggan, {"d_width": 0}, "d_width = 0"),
        (bridgegan, {"attribute": "Glasses"}, "attribute"), (bridgegan, {"size": 48}, "power of two"),
        (bridgegan, {"batch": 1}, "batch = 1"), (bridgegan, {"weights": "paper"}, "supplement, code"),
        (bridgegan, {"task": "domains", "attribute": "Bangs"}, "cat, dog, wild"),
        (diat, {"task": "wear_hat"}, "task"), (diat, {"variant": "DIAT4"}, "DIAT-A0"), (diat, {"size": 48}, "multiple of 32"),
        (diat, {"phi": "vgg16"}, "phi-proxy"), (diat, {"deconv1_k": 5}, "deconv1_k"), (diat, {"scale": "rms"}, "unit"),
        (diat, {"dropped": 90}, "less than clusters"), (diat, {"lambda_D": -1.0}, "lambda_D"),
        (atigan, {"size": 60}, "multiple of 16"), (atigan, {"mask": "eyes"}, "nose, center"),
        (atigan, {"th_disc": 1.5}, "share of n_iter"), (atigan, {"train": "D"}, "all, R, G"), (atigan, {"batch": 0}, "batch = 0"),
        (stargan, {"attributes": "Male,Male"}, "different names"), (stargan, {"size": 36}, "multiple of 64"),
        (stargan, {"labels": "sparse", "sampler": "balanced"}, "natural where labels are hidden"),
        (resgan, {"batch": 5}, "batch"), (resgan, {"norm": "none"}, "norm"), (cyclegan, {"pool": 0}, "pool = 0"),
        (starganv2, {"size": 48}, "power of two"), (starganv2, {"batch": 1}, "other images of the batch"),
        (starganv2, {"ema": 1.0}, "ema"), (stgan, {"size": 96, "layers": 6}, "at least 128"), (stgan, {"attributes": ""}, "names"),
        (context_encoder, {"top": 0}, "inside the picture"),
    ],
)  # fmt: skip
def test_configs_refuse_what_cannot_run(module, fields, message):
    with pytest.raises(ParameterError, match=message):
        module.Config(**fields)


@pytest.mark.parametrize("module", [sagan, sggan, bridgegan, atigan, cyclegan, resgan, stargan, starganv2, stgan])
def test_profiles_and_contract(module):
    assert list(module.PROFILES) == ["smoke", "cpu", "gpu", "paper"]
    for make in module.PROFILES.values():
        cfg = make()
        assert module.share_of_paper(cfg) <= 1 and module.stages(cfg)[0].updates
    assert module.share_of_paper(module.Config()) == 1
    cfg = module.PROFILES["cpu"]()
    nets = module.build(cfg)
    assert cfg.size == 64
    assert 2 * sum(v.numel() for name in module.KEEPS for v in getattr(nets, name).state_dict().values()) < 8e6  # bytes
    ids = [d.id for d in module.DEVIATIONS]
    assert ids == [f"D{i + 1}" for i in range(len(ids))] and module.TITLE and module.CITATION
