"""The evaluation of translation: known edits have known figures, seeded choices repeat, bad input is refused."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lib.papers.bridgegan.model import evaluation as translation
from lib.data import DataError, load_domains, to_uint8
from lib.data.lookup import label_finder, row_finder
from lib.evaluation.judges import as_images
from lib.synthetic import animals as renderer


class Oracle:
    """Stands for a judge that reads labels off the picture: attribute k is 1 where pixel (0, k) is bright."""

    id, names = "oracle", ("Bangs", "Male", "Smiling")

    def probabilities(self, x):
        return (x[:, 0, 0, :3] > 0).float().numpy()

    def features(self, x):
        return x[:, :, ::8, ::8].flatten(1)[:, :6].double().numpy()


def painted(faces, index, names=Oracle.names):
    """Faces that carry their labels in three pixels."""
    x = as_images(faces, index)
    x[:, :, 0, :3] = torch.stack([torch.from_numpy(faces.column(a)[index]).float() * 2 - 1 for a in names], 1)[:, None]
    return x


@pytest.fixture
def marked(faces, monkeypatch):
    monkeypatch.setattr(translation, "as_images", painted)
    return faces


def setting(names, value=None):
    """An edit that sets the label pixels of `names` as asked; value: always to that instead."""

    def edit(attribute, x, target):
        y = x.clone()
        for a in (attribute,) if isinstance(attribute, str) else attribute:
            if a in names:
                y[:, :, 0, Oracle.names.index(a)] = (target * 2 - 1) if value is None else value
        return SimpleNamespace(image=y)

    return edit


def find(rows, metric, row, column):
    (found,) = [r for r in rows if (r["metric"], r["row"], r["column"]) == (metric, row, column)]
    return found


def test_flips_of_known_edits(marked, split):
    edits = {"all": setting(Oracle.names), "one": setting(("Bangs",)), "adds": setting(Oracle.names, 1.0)}
    flips = translation.Flips(edits, marked, split, Oracle(), Oracle.names, 40, ("T1", "T2"))
    index = np.sort(np.random.default_rng([translation.SEED, 4]).permutation(split.test)[:40])
    for a in Oracle.names:
        assert find(flips.rows, "flip_accuracy", a, "unedited")["value"] == 0
        assert find(flips.rows, "flip_accuracy", a, "all")["value"] == 1
        assert find(flips.rows, "flip_accuracy", a, "one")["value"] == (a == "Bangs")
        assert find(flips.rows, "flip_accuracy", a, "adds")["value"] == pytest.approx(1 - marked.column(a)[index].mean())
    assert find(flips.rows, "flip_accuracy", "mean", "one")["value"] == pytest.approx(1 / 3)
    assert find(flips.rows, "flip_accuracy minimum", "lowest", "one")["value"] == 0
    assert [r["column"] for r in flips.rows if r["row"] == "lowest"] == list(edits)  # in this order on every machine, so that reruns agree
    for method in ("all", "unedited"):
        each = [find(flips.rows, "frechet_judge", a, method)["value"] for a in Oracle.names]
        assert find(flips.rows, "frechet_judge", "mean", method)["value"] == pytest.approx(np.mean(each))
    assert find(flips.rows, "fid", "Bangs", "all")["table"] == "T2"
    groups = {"mean": Oracle.names, "rare": ("Male", "Goatee"), "none": ("Goatee",)}
    out = flips.differences([("all", "one"), ("all", "absent")], groups, ("T1", "T2"))
    assert [(r["metric"], r["row"]) for r in out] == [(f"{m} difference", g) for g in ("mean", "rare") for m in ("flip_accuracy", "frechet_judge")]
    assert out[0]["value"] == pytest.approx(2 / 3) and out[2]["value"] == 1 and out[0]["column"] == "all - one"


def test_several_at_once_count_only_if_all_are_seen(marked, split):
    edits = {"both": setting(Oracle.names), "half": setting(("Male",))}
    rows = translation.together_rows(edits, marked, split, Oracle(), [("Bangs", "Male")], 10, "T")
    values = {r["column"]: (r["value"], r["row"]) for r in rows}
    assert values == {c: (v, "Bangs and Male +") for c, v in (("unedited", 0.0), ("both", 1.0), ("half", 0.0))}


def test_diversity_is_the_mean_over_pairs(faces, split):
    draws = tuple(lambda a, x, t, k=k: SimpleNamespace(image=torch.full_like(x, k / 10)) for k in range(3))
    rows = translation.diversity_rows({"m": draws}, faces, split, ("Bangs",), 6, "T")
    expected = np.mean([0.1, 0.2, 0.1]) / 2  # on the [0, 1] scale
    assert find(rows, "diversity_l1", "Bangs +", "m")["value"] == pytest.approx(expected, rel=1e-5)
    assert find(rows, "diversity_l1", "mean", "m")["value"] == pytest.approx(expected, rel=1e-5)


def test_reference_match_of_an_edit_that_copies_its_reference_and_of_one_that_ignores_it(faces, split):
    have = split.test[faces.column("Blond_Hair")[split.test] == 1]

    def references(seed, x):
        return as_images(faces, np.random.default_rng([seed, len(x)]).choice(have[seed % 2 :: 2], len(x)))

    def copies(seed):
        def edit(a, x, t):
            r = references(seed, x)
            return SimpleNamespace(image=r.mean((2, 3), keepdim=True).expand_as(x) * 0 + region_colour(r), reference=r)

        return edit

    def region_colour(r):
        rows = row_finder(faces, split.test)(r)
        return torch.from_numpy(translation.colours(faces, rows, r, "Blond_Hair") * 2 - 1).float()[:, :, None, None]

    rows = translation.reference_rows((copies(1), copies(2)), faces, split, ("Blond_Hair",), 30, "T", "m")
    assert find(rows, "reference_match", "Blond_Hair +", "m")["value"] == 1

    def claims_another(made, said):
        return lambda a, x, t: SimpleNamespace(image=copies(made)(a, x, t).image, reference=references(said, x))

    swapped = (claims_another(1, 2), claims_another(2, 1))
    rows = translation.reference_rows(swapped, faces, split, ("Blond_Hair",), 30, "T", "m")
    assert find(rows, "reference_match", "mean", "m")["value"] == 0


def test_colours_are_those_of_the_region(faces, split):
    rows = split.test[:5]
    region, _ = translation.region_of(faces, rows, "Bangs")
    x = torch.where(region, 1.0, -1.0).expand(-1, 3, -1, -1)
    inside = translation.colours(faces, rows, x, "Bangs")
    some = region.flatten(1).any(1).numpy()
    assert some.any() and np.allclose(inside[some], 1)


@pytest.fixture(scope="module")
def animals():
    return load_domains("animals", 32, n=120)


def test_domains_are_one_hot_and_divided(animals):
    faces, parts = animals
    assert faces.attribute_names == renderer.DOMAINS and (faces.attributes.sum(1) == 1).all() and faces.publishable
    assert len(parts.train) == 96 and len(parts.test) == 24 and not np.intersect1d(parts.train, parts.test).size
    assert all(f.startswith("val/") for f in parts.test_files) and all(f.startswith("train/") for f in parts.train_files)
    assert all(faces.column(f.split("/")[1])[i] for i, f in enumerate(faces.files))
    assert len(np.unique(faces.images.reshape(120, -1), axis=0)) == 120
    with pytest.raises(DataError, match="at least 30"):
        load_domains("animals", 32, n=20)


def test_a_folder_of_domains_becomes_the_same_kind_of_set(tmp_path, animals):
    drawn = animals[0].images[:8].transpose(0, 2, 3, 1)
    for part in ("train", "val"):
        for k, domain in enumerate(("cat", "dog")):
            (tmp_path / part / domain).mkdir(parents=True)
            for i in range(2):
                Image.fromarray(drawn[4 * (part == "val") + 2 * k + i]).save(tmp_path / part / domain / f"{i}.png")
    faces, parts = load_domains(str(tmp_path), 32)
    assert faces.attribute_names == ("cat", "dog") and not faces.publishable and (len(parts.train), len(parts.test)) == (4, 4)
    assert faces.column("dog").tolist() == [0, 0, 1, 1] * 2 and np.array_equal(faces.images[0], drawn[0].transpose(2, 0, 1))
    with pytest.raises(DataError, match="may not be published"):
        translation.same_licence(animals[0], faces)
    translation.same_licence(faces, animals[0])


def test_real_animals_are_read(real_faces):
    faces, parts = load_domains(str(real_faces / "afhq"), 32)
    assert faces.attribute_names == ("cat", "dog", "wild") and faces.attributes.sum(0).tolist() == [1022, 16, 20]
    assert (len(parts.train), len(parts.test)) == (1012, 46)


def test_domain_protocol_counts_every_output(animals):
    faces, parts = animals
    find_row = row_finder(faces, parts.test)

    class Domains(Oracle):
        names = ("cat", "dog", "wild")

        def probabilities(self, x):
            return x[:, 0, 0, :3].numpy()

    def towards(shift):
        def edit(target, x, t):
            assert (faces.column(target)[find_row(x)] == 0).all()
            y = torch.zeros_like(x) + shift
            y[:, :, 0, Domains.names.index(target)] = 1.0
            return SimpleNamespace(image=y)

        return edit

    rows = translation.domain_rows({"m": (towards(0.0), towards(0.2))}, faces, parts, Domains(), 4, "Table 3")
    tasks = [r for r in rows if r["metric"] == "domain_accuracy" and r["column"] == "m" and "2" in r["row"]]
    assert [r["row"] for r in tasks] == ["cat2dog", "cat2wild", "dog2cat", "dog2wild", "wild2cat", "wild2dog"]
    assert all(r["value"] == 1 and r["n"] == 8 for r in tasks)  # 4 images, 2 outputs
    assert find(rows, "domain_accuracy", "domains", "m")["value"] == 1
    apart = find(rows, "diversity_l1", "cat2dog", "m")["value"]
    assert apart == pytest.approx(0.1 * (1 - 1 / 1024), rel=1e-4)


def test_rows_and_labels_are_found_by_pixels(faces, split):
    index = split.test[:20]
    x = as_images(faces, index)
    order = [3, 0, 19]
    assert row_finder(faces, index)(x[order]).tolist() == index[order].tolist()
    labels = label_finder(faces, index, ("Male", "Bangs"))(x[order])
    assert labels.tolist() == [[float(faces.column(a)[i]) for a in ("Male", "Bangs")] for i in index[order]]
    with pytest.raises(DataError, match="picture 1 is not one of the 20"):
        row_finder(faces, index)(torch.cat([x[:1], x[:1] * 0.9]))
    assert np.array_equal(to_uint8(x), faces.images[index])


def test_printed_rows_stand_beside_ours():
    base = {"table": "Table 1", "metric": "flip_accuracy", "protocol": "", "ci_low": 0, "ci_high": 1, "n": 5}
    rows = [base | {"row": r, "column": c, "value": 0.5} for r in ("No_Beard", "mean") for c in ("A", "B")]
    rows = translation.with_printed(rows, "bridgegan", "Table 1", "flip_accuracy", {"A": "Ours (Label-based)"}, 0.01)
    assert [r.get("paper_value") for r in rows] == [pytest.approx(0.868), None, None, None]
    seen = {"A": {"images_seen": {"D": 1200, "G": 400}}}
    table = translation.beside_paper(pd.DataFrame(rows), "bridgegan", "Table 1", "flip_accuracy", ("No_Beard",), seen, percent=True)
    lines = table.set_index("method")
    assert lines.loc["A", "images seen by D / G"] == "1,200 / 400" and lines.loc["B", "images seen by D / G"] == ""
    assert lines.loc["A", "No Beard"] == 50 and lines.loc["SMIT", "No Beard"] == 13.9 and lines.loc["SMIT", "where from"] == "printed in the paper"
    assert len(table) == 9 and "measured here" in lines.loc["B", "where from"]


def test_choices_repeat_and_an_empty_one_is_refused(faces, split):
    one = translation.without(faces, split, ("Bangs", "Male"), 5)
    assert np.array_equal(one, translation.without(faces, split, ("Bangs", "Male"), 5)) and len(one) == 5
    assert not faces.column("Bangs")[one].any() and not faces.column("Male")[one].any()
    both = translation.with_all(faces, split, ("Bangs", "Male"), 3)
    assert faces.column("Bangs")[both].all() and faces.column("Male")[both].all()
    with pytest.raises(DataError, match="no test face has all of Black_Hair, Blond_Hair"):
        translation.with_all(faces, split, ("Black_Hair", "Blond_Hair"), 3)
    with pytest.raises(DataError, match="have none of"):
        translation.without(faces, split, faces.attribute_names, 3)


def sheet(figure):
    (axis,) = figure.axes
    (image,) = axis.get_images()
    names = [[t.get_text() for t in labels] for labels in (axis.get_yticklabels(), axis.get_xticklabels())]
    return np.asarray(image.get_array()), *names


def test_a_grid_shows_every_method_and_attribute_in_its_place(faces, split):
    edits = {
        "white": lambda a, x, t: SimpleNamespace(image=torch.ones_like(x)),
        "target": lambda a, x, t: SimpleNamespace(image=x * 0 + 2 * t[..., None, None] - 1),
    }
    picture, rows, columns = sheet(translation.label_grid(edits, faces, split, ("Bangs", "Male"), 3))
    assert rows == ["white", "target"] * 3 and columns == ["source", "Bangs", "Male"]
    index = np.sort(np.random.default_rng([translation.SEED, 6]).permutation(split.test)[:3])
    for i, face in enumerate(index):
        for k, a in enumerate(("Bangs", "Male")):
            for line, value in ((2 * i, 255), (2 * i + 1, 0 if faces.column(a)[face] else 255)):
                assert (picture[33 * line : 33 * line + 32, 33 * (k + 1) : 33 * (k + 1) + 32] == value).all()
        assert np.array_equal(picture[66 * i : 66 * i + 32, :32], faces.images[face].transpose(1, 2, 0))


def test_a_grid_of_references_puts_them_left_and_passes_them_on(animals):
    faces, parts = animals
    seen = []

    def edit(attribute, x, target, reference):
        seen.append(attribute)
        return SimpleNamespace(image=reference)

    sources, references, wanted = translation.domain_examples(faces, parts, 3, 4)
    assert (faces.column("cat")[sources] == 1).all() and wanted == ["dog", "wild"] * 2
    assert all(faces.column(a)[r] for a, r in zip(wanted, references, strict=True))
    picture, _, _ = sheet(translation.reference_grid(edit, faces, sources, references, wanted))
    assert seen == wanted
    for i, r in enumerate(references):
        for k in range(len(sources) + 1):  # the reference itself, then what the edit made of it
            assert np.array_equal(picture[33 * (i + 1) : 33 * (i + 1) + 32, 33 * k : 33 * k + 32], faces.images[r].transpose(1, 2, 0))
    draws = tuple(lambda a, x, t, k=k: SimpleNamespace(image=torch.full_like(x, k - 1.0)) for k in range(3))
    picture, rows, columns = sheet(translation.draws_grid(draws, faces, sources[:2], ("dog",)))
    assert rows == ["dog", "dog"] and columns == ["source", "draw 1", "draw 2", "draw 3"]
    assert [picture[5, 33 * (k + 1) + 5, 0] for k in range(3)] == [0, 128, 255]


def test_the_scatter_has_one_colour_a_method():
    base, figures = {"row": "Bangs", "protocol": "", "n": 5}, (("flip_accuracy", 0.5), ("frechet_judge", 2))
    rows = [base | {"column": c, "metric": m, "value": v} for c in ("A", "unedited") for m, v in figures]
    figure = translation.scatter(pd.DataFrame(rows), "bridgegan", ("Table 1", "Table 2"), {"A": "Ours (Label-based)"})
    left, right = (axis.get_legend() for axis in figure.axes)
    names = [[t.get_text() for t in legend.get_texts()] for legend in (left, right)]
    assert names[0] == ["A", "unedited"] and names[1][0] == "A" and "Ours (Label-based)" not in names[1] and len(names[1]) == 7
    first = [legend.legend_handles[0].get_markerfacecolor() for legend in (left, right)]
    assert first[0] == first[1] and len(figure.axes[1].collections[0].get_offsets()) == 98
