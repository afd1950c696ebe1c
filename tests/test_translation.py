"""The evaluation of translation: known edits have known figures, seeded choices repeat, bad input is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.data import DataError, load_domains
from lib.data.lookup import row_finder
from lib.evaluation import edits as evaluation_edits
from lib.evaluation.judges import as_images
from lib.papers.bridgegan import domains, evaluation
from lib.papers.bridgegan import model as bridgegan

NAMES = ("Bangs", "Male", "Smiling")
LABEL, REFERENCE, STARGAN, BETWEEN = evaluation.LABEL, evaluation.REFERENCE, evaluation.STARGAN, evaluation.BETWEEN


class Oracle:
    """Stands for a judge that reads labels off the picture: attribute k is 1 where pixel (0, k) is bright."""

    id, names, trusted = "oracle", NAMES, NAMES
    verification = {"impostor_99": 0.5}

    @property
    def a(self):
        return self

    b = identity = a

    def column(self, name):
        return NAMES.index(name)

    def probabilities(self, x):
        p = (x[:, 0, 0, :3] > 0).float().numpy()
        return p, p

    def sees(self, x, attribute, target):
        hit = (self.probabilities(x)[0][:, self.column(attribute)] > 0.5) == bool(target)
        return hit, hit

    def features(self, x):
        return x[:, :, ::8, ::8].flatten(1)[:, :6].double().numpy()

    def embed(self, x):
        return np.ones((len(x), 1))


def painted(faces, index):
    """Faces that carry their labels in three pixels."""
    x = as_images(faces, index)
    x[:, :, 0, :3] = torch.stack([torch.from_numpy(faces.column(a)[index]).float() * 2 - 1 for a in NAMES], 1)[:, None]
    return x


@pytest.fixture
def study(faces, split, monkeypatch):
    for where in (evaluation, evaluation_edits):
        monkeypatch.setattr(where, "as_images", painted)
    monkeypatch.setattr(evaluation_edits, "blurred", lambda x, sigma: x)
    monkeypatch.setattr(evaluation_edits, "counterfactuals", lambda *_: None)
    cfg = replace(bridgegan.PROFILES["smoke"](), attribute="Smiling,Bangs,Male")
    return SimpleNamespace(faces=faces, split=split, cfg=cfg, settings=evaluation.SETTINGS["smoke"], judges=Oracle(), device="cpu")


def setting(names, value=None):
    """An edit that sets the label pixels of `names` as asked; value: always to that instead."""

    def edit(attribute, x, target):
        y = x.clone()
        for a in (attribute,) if isinstance(attribute, str) else attribute:
            if a in names:
                y[:, :, 0, NAMES.index(a)] = (torch.as_tensor(target, dtype=x.dtype).expand(len(x), 1) * 2 - 1) if value is None else value
        return SimpleNamespace(image=y, mask=None)

    return edit


def find(rows, metric, row, column):
    (found,) = [r for r in rows if (r["metric"], r["row"], r["column"]) == (metric, row, column)]
    return found


def test_flips_of_known_edits(study):
    by = {LABEL: setting(NAMES), REFERENCE: setting(("Bangs",)), STARGAN: setting(NAMES, 1.0), BETWEEN: setting(())}
    edits = evaluation.edit_all(study, by)
    frame = evaluation.per_face(study, edits)
    rows = evaluation.table_1(study, frame)
    for a in NAMES:
        without = 1 - study.faces.column(a)[study.split.test].mean()
        expected = {LABEL: 1, REFERENCE: float(a == "Bangs"), STARGAN: without, "unedited": 0}  # what always adds succeeds where it was absent
        for method, value in expected.items():
            assert find(rows, "flip_accuracy", a, method)["value"] == pytest.approx(value), (a, method)
    assert find(rows, "flip_accuracy", "mean", REFERENCE)["value"] == pytest.approx(1 / 3)
    assert find(rows, "flip_accuracy", "lowest", REFERENCE)["value"] == 0
    gap = find(rows, "flip_accuracy difference", "mean", f"{LABEL} - {REFERENCE}")
    assert gap["value"] == pytest.approx(2 / 3) and gap["ci_low"] <= gap["value"] <= gap["ci_high"]
    assert not [r for r in rows if r["row"] == "rare"]  # none of them is edited here
    assert find(rows, "flip_accuracy", "Male", LABEL)["paper_value"] == pytest.approx(0.918)
    fewer = evaluation.table_1(study, frame[frame["method"] != STARGAN])
    assert fewer == [r for r in rows if STARGAN not in r["column"]]
    distances = evaluation.table_2(study, edits)
    each = [find(distances, "frechet_judge", a, LABEL)["value"] for a in NAMES]
    assert find(distances, "frechet_judge", "mean", LABEL)["value"] == pytest.approx(np.mean(each))
    table = evaluation.as_printed(pd.DataFrame(rows), "Table 1", "flip_accuracy").set_index(["method", ""])
    assert table.loc[("SMIT", "printed"), "Bangs"] == "45.9 %" and table.loc[("Ours (Label-based)", "here"), "Male"].startswith("100")
    assert table.loc[("SMIT", "printed"), "mean"] == f"{np.mean([48.3, 45.9, 51.6]):.4g} %"


def test_stamps():
    """One picture added to all faces is all stamp; independent noise is none; half and half is half."""
    rng = torch.Generator().manual_seed(0)
    stamp, noise = torch.randn(1, 3, 32, 32, generator=rng), torch.randn(60, 3, 32, 32, generator=rng)
    shares = [evaluation.stamp_share(e) for e in (stamp.expand(60, -1, -1, -1), noise, stamp + noise)]
    for found, expected in zip(shares, (1.0, 0.0, 0.5), strict=True):
        assert found.value == pytest.approx(expected, abs=0.02) and found.ci_low - 0.01 <= expected <= found.ci_high + 0.01
    assert evaluation.stamp_share(torch.zeros(4, 3, 2, 2)).value == pytest.approx(0, abs=0.4)  # no change, no energy: no number that matters


def test_several_at_once_and_placebos_on_an_untrained_model(study, monkeypatch):
    torch.manual_seed(0)
    nets = {"attributes": bridgegan.build(study.cfg)}
    study.models, study.figure = lambda name: nets, lambda *_, **__: None
    for where in (evaluation, evaluation_edits):
        monkeypatch.setattr(where, "as_images", as_images)
    edit = bridgegan.editor(nets, study.faces, study.split, study.cfg, "reference", 1.5)
    rows = evaluation.placebo_rows(study, {REFERENCE: evaluation.edit_all(study, {REFERENCE: edit})[REFERENCE]})
    assert {r["column"] for r in rows if r["metric"] == "edit_success"} == {REFERENCE, evaluation.WITHOUT, evaluation.ITSELF}
    rows = evaluation.bridge_rows(study)
    for a in NAMES:
        distance, face = (find(rows, m, f"{a} +", "BridgeGAN")["value"] for m in ("code_distance", "code_by_face"))
        assert distance > 0 and face > 0
    together = evaluation.figure_11_12(study, edit)
    assert [r["row"] for r in together] == ["together"] * 3 and find(together, "edit_success", "together", "unedited")["n"] >= 2
    own = evaluation.own_label_rows(study, {REFERENCE: edit})
    assert 0 < own[0]["value"] < 1


def test_diversity_is_the_mean_over_pairs(study):
    draws = [lambda a, x, t, k=k: SimpleNamespace(image=torch.full_like(x, k / 10), mask=None) for k in range(3)]
    rows = evaluation.diversity_rows(study, {"m": draws})
    expected = np.mean([0.1, 0.2, 0.1]) / 2  # on the [0, 1] scale
    for place in ("Bangs +", "mean"):
        assert find(rows, "diversity_l1", place, "m")["value"] == pytest.approx(expected, rel=1e-5)


def test_reference_match_of_an_edit_that_copies_its_reference_and_of_one_that_ignores_it(study, monkeypatch):
    faces, split = study.faces, study.split
    study.cfg = replace(study.cfg, attribute="Blond_Hair")
    monkeypatch.setattr(evaluation, "as_images", as_images)
    have = split.test[faces.column("Blond_Hair")[split.test] == 1]

    def references(seed, x):
        return as_images(faces, np.random.default_rng([seed, len(x)]).choice(have[seed % 2 :: 2], len(x)))

    def edit(made, said):
        def apply(a, x, t):
            r = references(made, x)
            colour = evaluation.colours(faces, row_finder(faces, split.test)(r), r, "Blond_Hair") * 2 - 1
            return SimpleNamespace(image=torch.from_numpy(colour).float()[:, :, None, None].expand_as(x), reference=references(said, x))

        return apply

    for one, two, expected in ((edit(1, 1), edit(2, 2), 1), (edit(1, 2), edit(2, 1), 0)):
        assert find(evaluation.reference_rows(study, one, two), "reference_match", "mean", REFERENCE)["value"] == expected


def test_choices_repeat_and_an_empty_one_is_refused(study):
    one = evaluation.having(study, ("Bangs", "Male"), 0)
    assert np.array_equal(one, evaluation.having(study, ("Bangs", "Male"), 0)) and len(one) == study.settings.test_images
    assert not study.faces.column("Bangs")[one].any() and not study.faces.column("Male")[one].any()
    both = evaluation.having(study, ("Bangs", "Male"), 1, 3)
    assert study.faces.column("Bangs")[both].all() and study.faces.column("Male")[both].all()
    with pytest.raises(DataError, match="0 faces with Black_Hair and Blond_Hair = 1"):
        evaluation.having(study, ("Black_Hair", "Blond_Hair"), 1, 3)
    with pytest.raises(DataError, match="at least 2 are needed"):
        evaluation.having(study, study.faces.attribute_names, 0)


def test_the_layers_are_those_of_the_figures():
    table = evaluation.layers(bridgegan.Config()).set_index("name")
    parts = {name: part for name, part in table.groupby("network")}

    def outputs(figure: str, blocks: str) -> list[str]:
        part = parts[figure]
        return part.loc[part.index.str.startswith(blocks), "output"].tolist()

    G = parts["Fig. 2: G"]
    assert outputs("Fig. 2: G", "down") == ["64 x 64 x 64", "128 x 32 x 32", "256 x 16 x 16"]
    assert outputs("Fig. 2: G", "middle") == ["256 x 16 x 16"] * 2
    assert outputs("Fig. 2: G", "up") == ["128 x 32 x 32", "64 x 64 x 64", "32 x 128 x 128"]
    assert G["norm"].tolist() == ["", *["IN"] * 4, *["SPADE"] * 4, ""]
    assert G["resample"].tolist() == ["", *["average pool"] * 3, "", "", *["upsample"] * 3, ""]
    trunk = ["16 x 128 x 128", "32 x 64 x 64", "64 x 32 x 32", "128 x 16 x 16", "256 x 8 x 8"]
    assert outputs("Fig. 3: D, C", "trunk") == trunk
    assert outputs("Fig. 4: M", "fc") == ["1024"]
    assert outputs("Fig. 4: M", "up") == ["32 x 8 x 8", "32 x 16 x 16", "32 x 32 x 32", "32 x 64 x 64"]
    assert outputs("Fig. 5: E", "blocks") == ["32 x 64 x 64"] * 4 and outputs("Fig. 5: E", "last.1") == ["32 x 64 x 64"]


@pytest.fixture(scope="module")
def animals():
    return load_domains("animals", 32, n=120)


def test_domain_protocol_counts_every_output(animals, monkeypatch):
    faces, split = animals
    find_row = row_finder(faces, split.test)

    class Judge(Oracle):
        def probabilities(self, x):
            return x[:, 0, 0, :3].numpy()

    def towards(shift):
        def edit(target, x, t):
            assert (faces.column(target)[find_row(x)] == 0).all()
            y = torch.zeros_like(x) + shift
            y[:, :, 0, bridgegan.DOMAINS.index(target)] = 1.0
            return SimpleNamespace(image=y, mask=None)

        return edit

    monkeypatch.setattr(domains, "animals_of", lambda study: animals)
    monkeypatch.setattr(domains, "referees", lambda study: {"a": Judge(), "b": Judge()})
    settings = SimpleNamespace(settings=SimpleNamespace(domain_sources=4), device="cpu")
    rows = domains.rows(settings, {LABEL: [towards(0.0), towards(0.2)]})
    tasks = [r for r in rows if r["metric"] == "domain_accuracy" and r["column"] == LABEL and "2" in r["row"]]
    assert [r["row"] for r in tasks] == ["cat2dog", "cat2wild", "dog2cat", "dog2wild", "wild2cat", "wild2dog"]
    assert all(r["value"] == 1 and r["n"] == 4 * 2 for r in tasks) and domains.rows(settings, {}) == []  # images, outputs
    assert find(rows, "domain_accuracy", "domains", LABEL)["value"] == 1
    assert find(rows, "diversity_l1", "cat2dog", LABEL)["value"] == pytest.approx(0.1 * (1 - 1 / 1024), rel=1e-4)


def test_other_domains_are_refused_before_a_picture_is_read(tmp_path):
    for part in ("train", "val"):
        for domain in ("cat", "horse"):
            (tmp_path / part / domain).mkdir(parents=True)
            (tmp_path / part / domain / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="its domains are cat, horse; the model knows cat, dog, wild"):
        domains.read_domains(str(tmp_path), 32, 90)
