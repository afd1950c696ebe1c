"""SaGAN's networks against Tables 1 and 2, its traps, what its losses train, and its evaluation."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from networks import count
from torch import nn

from lib import claims
from lib.evaluation import judges
from lib.evaluation.edits import unlabelled_cases
from lib.papers.sagan import evaluation
from lib.papers.sagan import model as sagan
from lib.study import make_plan


def small(**fields) -> sagan.Config:
    return sagan.Config(**vars(sagan.PROFILES["smoke"]()) | {"size": 32, "width": 4} | fields)


def batch(size=32, n=2, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    x = (torch.rand(n, 3, size, size, generator=rng) * 2 - 1).to(dtype)
    return SimpleNamespace(x=x, y=(torch.arange(n) % 2)[:, None].to(dtype), rng=rng)


def test_tables_1_and_2_in_the_papers_own_notation():
    built = evaluation.layers(sagan.Config())
    down = ["Conv(I32,O64,K4,P1,S2)", "Conv(I64,O128,K4,P1,S2)", "Conv(I128,O256,K4,P1,S2)"]
    up = ["Deconv(I256,O128,K4,P1,S2)", "Deconv(I128,O64,K4,P1,S2)", "Deconv(I64,O32,K4,P1,S2)"]
    middle = [*down, *["Residual Block(I256,O256,K3,P1,S1)"] * 4, *up]
    expected = {
        "AMN": ["Conv(I4,O32,K7,P3,S1)", *middle, "Conv(I32,O3,K7,P3,S1)"],
        "SAN": ["Conv(I3,O32,K7,P3,S1)", *middle, "Conv(I32,O1,K7,P3,S1)"],
        "D": ["Conv(I3,O32,K4,P1,S2)", *down, "Conv(I256,O512,K4,P1,S2)", "Conv(I512,O1024,K4,P1,S2)",
              "Conv(I1024,O1,K3,P1,S1)", "Conv(I1024,O1,K2,P0,S1)"],
    }  # fmt: skip
    assert {name: list(part["as built"]) for name, part in built.groupby("network")} == expected
    outputs = {name: [text.split(" x ")[1] for text in part["output"]] for name, part in built.groupby("network")}
    assert outputs["AMN"] == outputs["SAN"] == "128 64 32 16 16 16 16 16 32 64 128 128".split()
    assert outputs["D"] == "64 32 16 8 4 2 2 1".split()
    at_64 = evaluation.layers(sagan.Config(size=64))  # D4: one layer fewer, the same heads
    assert list(at_64[at_64["network"] == "D"]["output"])[3:] == ["256 x 4 x 4", "512 x 2 x 2", "1 x 2 x 2", "1 x 1 x 1"]


def test_parameter_counts():
    nets = sagan.build(sagan.Config())
    assert (count(nets.G.amn), count(nets.G.san), count(nets.G)) == (6_108_579, 6_103_873, 12_212_452)
    assert (count(nets.D.trunk), count(nets.D.src), count(nets.D.cls)) == (11_177_440, 9_217, 4_097)
    assert count(sagan.build(sagan.Config(size=64)).D) == 2_794_466


def test_heads_fit_every_size_and_the_printed_ones_only_128():
    for size in (32, 48, 64):
        src, cls = sagan.build(small(size=size)).D(torch.zeros(3, 3, size, size))
        assert src.shape == ((3, 1, 3, 3) if size == 48 else (3, 1, 2, 2)) and cls.shape == (3, 1)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        sagan.build(small(size=128)).D(torch.zeros(1, 3, 64, 64))  # Table 2's six layers, given a 64 pixel face


def test_the_label_reaches_amn_only_through_the_zero_border(float64):
    torch.manual_seed(0)
    G = sagan.Generator(small(size=64))
    x = batch(64, dtype=torch.float64).x
    zero, one = torch.zeros(2, 1), torch.ones(2, 1)
    assert (G.F_m(x, zero) - G.F_m(x, one)).abs().max() > 1e-2
    for m in G.amn.modules():
        if isinstance(m, nn.Conv2d):
            m.padding_mode = "reflect"
            m._reversed_padding_repeated_twice = [p for p in reversed(m.padding) for _ in range(2)]
    first = G.amn[0]
    planes = [first(torch.cat([x, c[:, :, None, None].expand(-1, -1, 64, 64)], 1)) for c in (zero, one)]
    normed = [nn.InstanceNorm2d(planes[0].shape[1])(p) for p in planes]
    # the plane's variance is lost up to rounding of a constant; eps enters equally on both sides
    assert (normed[0] - normed[1]).abs().max() < 1e-10
    assert (G.F_m(x, zero) - G.F_m(x, one)).abs().max() < 1e-10


def test_a_closed_mask_is_absorbing_and_pays_no_reconstruction():
    for closed in (True, False):
        nets = sagan.build(small())
        if closed:
            nets.G.san[-2].bias.data.fill_(-200.0)  # b = sigmoid(-200) = 0
        total, parts = sagan.g_loss(nets, batch(), small())
        total.backward()
        assert any(p.grad is not None and (p.grad != 0).any() for p in nets.G.parameters()) != closed
        assert all((parts[name] == 0) == closed for name in ("mask_mean", "rec_dual", "rec_same"))
        assert torch.isclose(total, parts["adv"] + parts["cls"]) == closed


def test_d_cls_never_sees_a_fake():
    nets = sagan.build(small())
    honest = sagan.d_loss(nets, batch(), small())[1]
    noise = batch(seed=9).x
    swapped = sagan.d_loss(SimpleNamespace(G=lambda I, c: noise, D=nets.D), batch(), small())[1]
    assert torch.equal(swapped["cls"], honest["cls"]) and swapped["adv"] != honest["adv"]


def test_weights_start_as_sec_3_prints():
    torch.manual_seed(0)
    nets = sagan.build(sagan.Config(size=64))
    std = torch.cat([p.flatten() for n, p in nets.G.named_parameters() if n.endswith("weight")]).std()
    assert 0.0195 < std < 0.0205 and all((p == 0).all() for n, p in nets.G.named_parameters() if n.endswith("bias"))


def test_train_and_eval_mode_are_the_same_function_and_images_do_not_mix():
    nets, x = sagan.build(small()), batch(n=3).x
    c = torch.tensor([[0.0], [1.0], [1.0]])
    trained = nets.G.train()(x, c)
    assert torch.equal(trained, nets.G.eval()(x, c))
    assert torch.allclose(trained[:1], nets.G(x[:1], c[:1]), atol=1e-6)
    assert not torch.allclose(trained[:1], trained[1:2], atol=1e-2)


def test_three_updates_of_d_to_one_of_g_on_fresh_batches():
    (stage,) = sagan.stages(small(attribute="Eyeglasses"))
    assert [(u.name, u.repeats, u.fresh) for u in stage.updates] == [("D", 3, True), ("G", 1, True)]


def test_edit_goes_both_ways_and_keeps_to_the_mask():
    nets, x = sagan.build(small()), batch(n=4).x
    up, down = sagan.edit(nets, x, 1), sagan.edit(nets, x, torch.zeros(4, 1))
    assert not torch.equal(up.image, down.image) and torch.equal(up.mask, down.mask)
    assert torch.allclose(up.image - x, up.mask * (up.attribute_image - x), atol=1e-6)
    assert not up.image.requires_grad


def test_without_attention_the_edit_is_the_attribute_image():
    cfg = small(attention=False)
    nets, x = sagan.build(cfg), batch(n=3).x
    out = sagan.edit(nets, x, 1)
    assert nets.G.san is None and (out.mask == 1).all() and torch.equal(out.image, out.attribute_image)
    total, parts = sagan.g_loss(nets, batch(), cfg)
    total.backward()
    assert parts["mask_mean"] == 1 and all(p.grad is not None for p in nets.G.parameters())
    with_mask = sagan.build(small())
    assert count(with_mask.G) - count(nets.G) == count(with_mask.G.san)


# ------------------------------------------------------------------------------------------------ evaluation


def test_ablations_differ_in_one_field_each():
    cfg, arms = sagan.PROFILES["cpu"](), evaluation.ablations(sagan.PROFILES["cpu"]())
    expected = {"b = 1": ("attention", False, "Smiling"), "natural sampling": ("sampler", "natural", "Eyeglasses")}
    expected |= {f"lambda_2 = {v}": ("lambda_2", v, "Smiling") for v in (0, 1, 10)}
    assert set(arms) == {f"SaGAN, {name}" for name in expected}
    for name, (field, value, attribute) in expected.items():
        arm = arms[f"SaGAN, {name}"]
        assert {k for k, v in vars(arm).items() if v != vars(cfg)[k]} == {"attribute", field}
        assert getattr(arm, field) == value and arm.attribute == attribute
    assert "SaGAN, balanced sampling" in evaluation.ablations(sagan.Config())


def test_every_method_gets_the_same_faces_sampler_and_no_flips():
    plan = make_plan("sagan", profile="smoke")
    rivals = [job for name, job in plan.jobs.items() if name.split()[0] in evaluation.RIVALS]
    assert len(rivals) == 4 + 4 + 1 and all(job.faces is plan.faces and not job.cfg.flip for job in rivals)
    assert plan.jobs["StarGAN"].cfg.attributes == ",".join(sagan.ATTRIBUTES) and plan.jobs["StarGAN"].cfg.sampler == plan.cfg.sampler
    assert [j.cfg.attribute for n, j in plan.jobs.items() if n in {f"SaGAN {a}" for a in sagan.ATTRIBUTES}] == list(sagan.ATTRIBUTES)
    fewer = make_plan("sagan", profile="smoke", overrides={"attribute": "Smiling", "ablations": False, "recogniser_seeds": 0})
    assert list(fewer.jobs) == ["SaGAN Smiling", "CycleGAN Smiling", "ResGAN Smiling", "StarGAN", "judge a", "judge b", "identity network"]
    assert fewer.jobs["SaGAN Smiling"].id == plan.jobs["SaGAN Smiling"].id


def judged(method: str, attribute: str, target: int, n: int = 40, **columns) -> pd.DataFrame:
    """Lines of a per-face table with the same values in each."""
    keys = {"method": method, "attribute": attribute, "target": target, "face": range(n), "person": range(n)}
    return pd.DataFrame(keys | columns)


def test_gender_is_measured_against_the_exact_answer_and_the_others():
    changed = {"CycleGAN": 20, "StarGAN": 16, "ResGAN": 12, "SaGAN": 8, "counterfactual": 4}  # of 40
    parts = [judged(m, "No_Beard", t, male_changed=np.arange(40) < k) for m, k in changed.items() for t in (1, 0)]
    frame = pd.concat([judged("SaGAN", "Smiling", 1), *parts], ignore_index=True)
    known = claims.measures(pd.DataFrame(evaluation.gender(frame)))
    at = {m: known["comparisons", f"male_changed difference | No_Beard | {m} - counterfactual"]["value"] for m in evaluation.METHODS}
    assert at == pytest.approx({"CycleGAN": 0.4, "StarGAN": 0.3, "ResGAN": 0.2, "SaGAN": 0.1})
    assert known["comparisons", "male_changed difference | No_Beard | SaGAN - ResGAN"]["value"] == pytest.approx(-0.1)
    assert evaluation.gender(frame.drop(columns="male_changed")) == []


class Eye:
    """Both judges and the identity network: bright faces have Eyeglasses, dark ones smile."""

    id, names, trusted, verification = "eye", ("Eyeglasses", "Smiling"), (), {"impostor_99": 0.9}

    def __init__(self):
        self.a = self.b = self.identity = SimpleNamespace(
            id="eye", probabilities=self.see, features=lambda x: x.mean((2, 3)).numpy(), embed=lambda x: np.ones((len(x), 1))
        )

    def see(self, x):
        bright = (x.mean((1, 2, 3)) > 0.05).float().numpy()
        return np.stack([bright, 1 - bright], 1)

    def probabilities(self, x):
        return self.see(x), self.see(x)

    def column(self, attribute):
        return self.names.index(attribute)

    def sees(self, x, attribute, target):
        hit = (self.see(x)[:, self.column(attribute)] > 0.5) == bool(target)
        return hit, hit


def paint(attribute, x, target):
    """Brightens a face to add eyeglasses, darkens it to take them off."""
    return SimpleNamespace(image=(x + (2.0 if target else -2.0)).clamp(-1, 1), mask=None)


def test_lfw_is_edited_where_the_judges_see_the_opposite(faces, split):
    shown, settings = [], SimpleNamespace(test_images=6)
    parts = {"settings": settings, "faces": faces, "split": split, "judges": Eye(), "device": "cpu"}
    study = SimpleNamespace(cfg=small(attribute="Eyeglasses"), has=lambda *names: True, **parts)
    study.figure = lambda figure, name, alt: shown.append(name)
    lfw = faces, ()
    cases = unlabelled_cases(faces, np.arange(60), Eye(), ["Eyeglasses"], 6)
    bright = Eye().see(judges.as_images(faces, np.arange(60)))[:, 0].astype(bool)
    assert len(cases["Eyeglasses", 1].index) == min(6, (~bright).sum()) and not bright[cases["Eyeglasses", 1].index].any()
    assert bright[cases["Eyeglasses", 0].index].all()
    keep = lambda attribute, x, target: SimpleNamespace(image=x, mask=None)  # noqa: E731
    rows, edits = evaluation.lfw_edits(study, lfw, {"SaGAN": paint, "StarGAN": keep})
    known = claims.measures(pd.DataFrame(rows))
    for sign in "+-":
        assert known["Fig. 9", f"edit_success | Eyeglasses {sign} on LFW | SaGAN"]["value"] == 1
        assert known["Fig. 9", f"edit_success | Eyeglasses {sign} on LFW | StarGAN"]["value"] == 0
    drop = known["Fig. 9", "edit_success drop | LFW | SaGAN"]
    assert drop["value"] == 0 and drop["ci_low"] < 0 < drop["ci_high"]
    evaluation.figure_9(study, edits)
    assert shown == ["fig_9_Eyeglasses"]
    known = claims.measures(pd.DataFrame(evaluation.smiles(study, lfw)))
    gap = known["Fig. 11", "smiling share difference | LFW - CelebA | judges"]
    assert gap["ci_low"] < gap["value"] < gap["ci_high"] and abs(gap["value"]) < 0.2
    rows, edits = evaluation.lfw_edits(study, None, {"SaGAN": paint})
    assert rows[0]["protocol"] == "unavailable: no LFW folder given" and edits == {} and evaluation.smiles(study, None) == []
    evaluation.figure_9(study, edits)
