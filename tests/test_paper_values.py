"""results/paper_values.csv: well formed, complete, and consistent with itself wherever the papers print a number twice."""

import csv
import math
import re
from pathlib import Path

import pandas as pd
import pytest

FILE = Path(__file__).parents[1] / "results" / "paper_values.csv"
COLUMNS = ["paper", "table", "row", "column", "value", "unit", "note"]
KEY = COLUMNS[:4]
UNITS = {"%", "dB", "px", "s", "days", "GB", "images/s", "count", "weight", "1"}

FACE = [
    "Young", "Mouth Slightly Open", "Smiling", "Black Hair", "Blond Hair", "Brown Hair", "Gray Hair", "Receding Hairline", "Bangs", "Male",
    "No Beard", "Mustache", "Goatee", "Sideburns",
]  # fmt: skip
SEVEN = ["StarGAN", "STGAN", "SMIT", "Ours (Label-based)", "ELEGANT", "HomoGAN", "Ours (Reference-based)"]
FIVE = ["ResidualGAN", "StarGAN", "SG-GAN(ALL)", "SG-GAN(5000)", "SG-GAN(500)"]
SG = ["Gender", "Smile", "Hair Color"]
# Every printed table of results: its rows and columns in printed order.
TABLES = {
    ("atigan", "Table 1"): (["SIIWGAN", "SIIDGM", "CE", "GL", "GntInp", "GMCNN", "GL+LID", "Ours"], ["PSNR", "SSIM"]),
    ("bridgegan", "Table 1"): (SEVEN, FACE),
    ("bridgegan", "Table 2"): (SEVEN, FACE),
    ("bridgegan", "Table 3"): (
        ["StarGAN-V2 (Label-based)", "Ours (Label-based)", "StarGAN-V2 (Reference-based)", "Ours (Reference-based)"],
        ["dog2cat", "wild2cat", "cat2dog", "wild2dog", "cat2wild", "dog2wild"],
    ),
    ("sggan", "Table 2"): ([*FIVE, "CelebA"], [f"{edit} / {judged}" for edit in ("Gender", "Hair Color") for judged in (*SG, "Background")]),
    ("sggan", "Table 3"): (["RIL", "Refined RIL"], SG),
}
# Totals of the rows, then of the columns, summed from a second transcription: together they give away a swapped or mistyped cell.
TOTALS = {
    ("atigan", "Table 1"): ([20.12, 20.307, 22.223, 24.126, 24.74, 25.404, 26.513, 32.746], [188.71, 7.469]),
    ("bridgegan", "Table 1"): (
        [973.7, 1129.1, 384.2, 1216.6, 372.8, 420.2, 756.4],
        [403.1, 539.0, 490.5, 498.4, 453.7, 401.8, 283.2, 335.7, 517.8, 464.7, 327.9, 154.4, 178.5, 204.3],
    ),
    ("bridgegan", "Table 2"): (
        [363.41, 225.58, 169.95, 199.77, 964.38, 244.77, 159.45],
        [81.30, 61.01, 71.95, 106.21, 159.29, 87.28, 242.46, 99.15, 104.24, 147.42, 189.10, 307.78, 314.71, 355.41],
    ),
    ("bridgegan", "Table 3"): ([186.43, 155.20, 199.90, 160.06], [63.73, 64.34, 186.23, 178.15, 103.02, 106.12]),
    ("sggan", "Table 2"): (
        [620.82, 696.07, 706.68, 695.21, 681.83, 777.50],
        [576.90, 521.09, 589.37, 440.0, 551.65, 528.01, 576.09, 395.0],
    ),
    ("sggan", "Table 3"): ([63.79, 264.84], [112.03, 106.34, 110.26]),
}

# The settings a reproduction is configured by, from the same second transcription: (table, row, {column: value}).
SETTINGS = {
    "atigan": [
        ("Sec. 4.1", "mask", {"width": 52, "height": 52}),
        ("Sec. 4.1", "test set", {"images": 2000}),
        ("Sec. 4.2", "training", {"batch size": 16, "iterations": 200000}),
        ("Sec. 4.2", "learning rate", {"initial": 1e-4, "final": 0, "constant epochs": 10, "decay epochs": 10}),
        ("Sec. 4.2", "loss weights", {"lambda_ae": 10, "lambda_cycle": 10, "lambda_gp": 10, "lambda_p": 5, "lambda_c": 1}),
    ],
    "bridgegan": [
        ("Sec. C", "training", {"batch size": 48, "learning rate": 2e-4}),
        ("Sec. C", "loss weights", {"lambda_cls": 10, "lambda_rec": 100, "lambda_cyc": 100, "lambda_ms": 0.005, "lambda_sty": 50, "lambda_ak": 100}),
        ("Fig. 4", "mapping network M", {"d length of the noise vector": 16, "n attributes": 14}),
    ],
    "diat": [
        ("Sec. 5.1", "k-means", {"clusters": 62, "clusters excluded": 14, "landmarks per face": 5}),
        ("Sec. 5.1", "input set", {"images": 2000}),
        ("Sec. 5.1", "DIAT3", {"lambda": 0.1, "gamma": 0.001}),
        ("Sec. 5.1", "DIAT-A", {"lambda": 0.1}),
        ("Sec. 5.1", "local enhancement network", {"beta_0": 0.1, "beta_1": 0.5, "beta_2": 1}),
        ("Sec. 5.1", "global enhancement network", {"sigma of the Gaussian blur": 1.8}),
        ("Sec. 5.2", "CNIA", {"time per image": 30}),
        ("Sec. 5.2", "DIAT", {"time per image": 0.0045}),
    ],
    "sagan": [
        ("Sec. 3", "loss weights", {"lambda_gp": 10, "lambda_1": 20, "lambda_2": 100}),
        ("Sec. 3", "Adam", {"learning rate": 2e-4}),
        ("Sec. 3", "weight initialisation", {"mean": 0, "standard deviation": 0.02}),
        ("Sec. 3", "training", {"batch size": 16, "generator updates per cycle": 1, "discriminator updates per cycle": 3}),
    ],
    "sggan": [
        ("Sec. 3.2", "loss weights", {"lambda_adv": 1, "lambda_rec": 10}),
        ("Sec. 3.2", "training", {"batch size": 8, "discriminator updates per generator update": 5}),
        ("Sec. 3.2", "learning rate", {"initial": 1e-4, "constant iterations": 10000, "final": 0, "decay iterations": 10000}),
        ("Sec. 4.2", "test set", {"images": 5000}),
    ],
}


@pytest.fixture(scope="module")
def frame():
    return pd.read_csv(FILE, keep_default_na=False)


@pytest.fixture(scope="module")
def value(frame):
    values = frame.set_index(KEY)["value"]
    return lambda *key: float(values.loc[key])


@pytest.fixture(scope="module")
def note(frame):
    notes = frame.set_index(KEY)["note"]
    return lambda *key: notes.loc[key]


def grid(frame, paper, table):
    part = frame[(frame["paper"] == paper) & (frame["table"] == table)]
    return part.pivot(index="row", columns="column", values="value").loc[list(dict.fromkeys(part["row"])), list(dict.fromkeys(part["column"]))]


def test_columns_and_types(frame):
    assert list(frame.columns) == COLUMNS
    assert frame["value"].dtype == float
    assert frame["value"].map(math.isfinite).all()
    assert (frame[["paper", "table", "row", "column", "unit"]] != "").all(axis=None)


def test_papers_are_the_five_and_each_is_one_block(frame):
    blocks = frame.loc[frame["paper"] != frame["paper"].shift(), "paper"].tolist()
    assert blocks == ["atigan", "bridgegan", "diat", "sagan", "sggan"]


def test_no_number_is_listed_twice(frame):
    assert frame[frame.duplicated(KEY, keep=False)].empty


def test_names_have_no_stray_blanks(frame):
    for column in KEY:
        assert (frame[column] == frame[column].str.strip()).all()
        assert not frame[column].str.contains("  ").any()


def test_a_plain_reader_loses_no_value(frame):
    """Default NaN handling must not swallow a name such as 'None' or 'NA'."""
    plain = pd.read_csv(FILE)
    assert plain[COLUMNS[:6]].notna().all(axis=None)
    assert len(plain) == len(frame)


def test_value_cells_hold_a_number_and_nothing_else():
    with FILE.open(newline="", encoding="utf-8") as file:
        for number, cells in enumerate(csv.DictReader(file), start=2):
            assert re.fullmatch(r"-?\d+(\.\d+)?", cells["value"]), f"line {number}: {cells['value']!r}"


def test_units_are_those_of_the_dictionary(frame):
    assert set(frame["unit"]) == UNITS
    text = (FILE.parent / "README.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("| `unit` |") and "`px`" in line)
    assert set(re.findall(r"`([^`]+)`", line)) - {"unit"} == UNITS


def test_values_lie_in_the_range_of_their_unit(frame):
    percent = frame.loc[frame["unit"] == "%", "value"]
    assert percent.between(0, 100).all() and percent.max() > 1  # percent, not shares
    whole = frame.loc[frame["unit"].isin(["count", "px"]) & (frame["column"] != "sigma of the Gaussian blur"), "value"]
    assert (whole == whole.round()).all() and (whole >= 0).all()
    assert (frame.loc[frame["unit"] == "weight", "value"] > 0).all()
    assert frame.loc[frame["column"] == "SSIM", "value"].between(0, 1).all()
    assert (frame.loc[frame["column"].str.endswith(" std"), "value"] > 0).all()


@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_table_is_complete_and_in_printed_order(frame, paper, table):
    rows, columns = TABLES[paper, table]
    cells = grid(frame, paper, table)
    assert list(cells.index) == rows and list(cells.columns) == columns
    assert cells.notna().all(axis=None)
    assert ((frame["paper"] == paper) & (frame["table"] == table)).sum() == len(rows) * len(columns)


def test_atigan_table_2_has_its_nine_cells(frame):
    cells = frame[(frame["paper"] == "atigan") & (frame["table"] == "Table 2")]
    assert list(zip(cells["row"], cells["column"], cells["value"], strict=True)) == [
        ("Smiling -> Not-Smiling", "All", 86.0),
        ("Not-Smiling -> Smiling", "All", 88.0),
        ("Eyeglasses -> Not-Eyeglasses", "All", 50.0),
        ("Not-Eyeglasses -> Eyeglasses", "All", 82.0),
        ("Young -> Old", "All", 85.0),
        ("Old -> Young", "All", 70.0),
        ("Mustache -> Not-Mustache", "Men", 33.0),
        ("Not-Mustache -> Mustache", "Men", 98.0),
        ("Not-Mustache -> Mustache", "Women", 68.0),
    ]


def test_sggan_table_1_has_a_mean_and_a_deviation_for_each_cell(frame):
    """Five methods by four attributes, and one CelebA cell merged over the four."""
    cells = frame[(frame["paper"] == "sggan") & (frame["table"] == "Table 1")]
    heads = [f"{a} {s}" for a in (*SG, "Lipstick") for s in ("mean", "std")]
    expected = [(m, h) for m in FIVE for h in heads] + [("CelebA", "All mean"), ("CelebA", "All std")]
    assert list(zip(cells["row"], cells["column"], strict=True)) == expected
    means, deviations = cells["value"].to_numpy()[::2], cells["value"].to_numpy()[1::2]
    assert means.sum() == pytest.approx(71.85, abs=1e-6) and deviations.sum() == pytest.approx(3.155, abs=1e-6)
    assert means.max() == 3.83  # real images score highest


@pytest.mark.parametrize(("paper", "table"), TOTALS)
def test_totals_of_rows_and_columns(frame, paper, table):
    cells = grid(frame, paper, table)
    rows, columns = TOTALS[paper, table]
    assert cells.sum(axis=1).tolist() == pytest.approx(rows, abs=1e-6)
    assert cells.sum(axis=0).tolist() == pytest.approx(columns, abs=1e-6)


def test_results_say_which_direction_is_better(frame):
    """Every cell of a results table but a deviation or a row of real images."""
    tables = {*TABLES, ("atigan", "Table 2"), ("sggan", "Table 1")}
    results = frame[[key in tables for key in zip(frame["paper"], frame["table"], strict=True)]]
    assert len(results) == 341
    results = results[~results["column"].str.endswith(" std") & ~((results["row"] == "CelebA") & (results["table"] == "Table 1"))]
    assert len(results) == 341 - 21 - 1  # deviations, and the score of real images
    lower = results["note"].str.startswith("lower is better")
    assert (lower | results["note"].str.startswith("higher is better")).all()
    assert set(zip(results.loc[lower, "paper"], results.loc[lower, "table"], strict=True)) == {("bridgegan", "Table 2"), ("bridgegan", "Table 3")}


def test_competitors_are_marked(frame):
    own = {"Ours", "Ours (Label-based)", "Ours (Reference-based)", "SG-GAN(ALL)", "SG-GAN(5000)", "SG-GAN(500)", "CelebA", "RIL", "Refined RIL"}
    for (paper, table), part in frame.groupby(["paper", "table"]):
        if (paper, table) in TABLES:
            assert (part["note"].str.contains("competitor") == ~part["row"].isin(own)).all(), (paper, table)


# ------------------------------------------------------------------------------------------------ numbers that must agree


@pytest.mark.parametrize("paper", SETTINGS)
def test_settings(value, paper):
    for table, row, columns in SETTINGS[paper]:
        assert {c: value(paper, table, row, c) for c in columns} == columns, (table, row)


def test_sagan_split_adds_up(value):
    images = value("sagan", "Sec. 4.1", "training set", "images") + value("sagan", "Sec. 4.1", "test set", "images")
    people = value("sagan", "Sec. 4.1", "training set", "identities") + value("sagan", "Sec. 4.1", "test set", "identities")
    assert images == value("sagan", "Sec. 4.1", "CelebA", "images") == 202599
    assert people == value("sagan", "Sec. 4.1", "CelebA", "identities") == 10177
    # the training people are those with the most images
    assert value("sagan", "Sec. 4.1", "training set", "images") / 8177 > value("sagan", "Sec. 4.1", "test set", "images") / 2000


def test_papers_agree_on_celeba(value):
    sections = {"atigan": "Sec. 4.1", "sagan": "Sec. 4.1", "sggan": "Sec. 4.2"}
    assert {value(paper, section, "CelebA", "images") for paper, section in sections.items()} == {202599}
    assert value("sagan", "Sec. 4.1", "CelebA", "attributes") == value("sggan", "Sec. 4.2", "CelebA", "attributes") == 40
    for paper, section in (("atigan", "Sec. 4.1"), ("diat", "Sec. 5.1")):
        assert [value(paper, section, "CelebA aligned image", side) for side in ("width", "height")] == [178, 218]


def test_atigan_algorithm_repeats_the_text(value):
    def default(name):
        return value("atigan", "Algorithm 1", "default values", name)

    assert default("n_iter") == value("atigan", "Sec. 4.2", "training", "iterations")
    assert default("n_iter") / default("n_iter / th_disc") == value("atigan", "Sec. 4.2", "generator G", "first iteration on the output of R")
    assert default("m") == value("atigan", "Sec. 4.2", "training", "batch size")
    assert default("n_gen") == value("atigan", "Sec. 4.2", "generator G", "discriminator updates per update")
    assert {default(f"alpha_{w}") for w in ("disc", "rec", "gen")} == {value("atigan", "Sec. 4.2", "learning rate", "initial")}


def test_atigan_epochs_do_not_fit_its_iterations(value, note):
    """A contradiction of the paper: kept as printed, and said in the note."""
    training = value("atigan", "Sec. 4.1", "CelebA", "images") - value("atigan", "Sec. 4.1", "test set", "images")
    epochs = value("atigan", "Sec. 4.2", "learning rate", "constant epochs") + value("atigan", "Sec. 4.2", "learning rate", "decay epochs")
    iterations = round(epochs * training / value("atigan", "Sec. 4.2", "training", "batch size"))
    assert iterations > value("atigan", "Sec. 4.2", "training", "iterations")
    assert f"{iterations:,}" in note("atigan", "Sec. 4.2", "learning rate", "constant epochs")


def test_diat_layers_and_rates(value):
    def t(name):
        return value("diat", "Sec. 3.1", "transform network T", name)

    layers = t("first convolutional layers") + t("residual blocks") * t("convolutional layers per residual block") + t("last convolutional layers")
    assert layers == t("layers") == 16
    rate = value("diat", "Sec. 4.2", "DIAT", "learning rate")
    assert rate == value("diat", "Sec. 3.1.2", "transform network T and discriminator D", "learning rate")
    assert value("diat", "Sec. 4.2", "DIAT-A", "learning rate") == pytest.approx(rate / 10)
    assert value("diat", "Sec. 5.2", "DIAT", "time per image") < value("diat", "Sec. 1", "DIAT", "time per image")
    assert 1 / value("diat", "Sec. 5.2", "DIAT", "time per image") > value("diat", "Sec. 1", "DIAT", "images per second")


def test_diat_deconvolution_misprint(value, note):
    """(32 - 1) * 2 - 2 + 3 = 63: the printed 64 needs one more pixel, and only 64 leads on to the printed 127."""
    printed = value("diat", "Table 1", "deconv 3x3x64", "output size")
    assert (32 - 1) * 2 - 2 + 3 == printed - 1
    assert (printed - 1) * 2 - 2 + 3 == value("diat", "Table 1", "deconv 3x3x32", "output size")
    assert "misprint" in note("diat", "Table 1", "deconv 3x3x64", "output size") and "63" in note("diat", "Table 1", "deconv 3x3x64", "output size")


def test_sagan_channel_misprint(value, note):
    assert value("sagan", "Table 2", "L7 src", "input channels") == 2014
    assert "must be 1024" in note("sagan", "Table 2", "L7 src", "input channels")
    assert value("sagan", "Table 2", "L7 cls", "input channels") == 1024


def test_sggan_text_repeats_its_tables(value):
    for row in ("SG-GAN(500)", "ResidualGAN", "StarGAN"):
        for kind in ("mean", "std"):
            assert value("sggan", "Sec. 4.3", row, f"IS {kind}") == value("sggan", "Table 1", row, f"Gender {kind}")
    for row in ("SG-GAN(ALL)", "SG-GAN(500)", "StarGAN", "ResidualGAN"):
        assert value("sggan", "Sec. 4.3", row, "background after gender edit") == value("sggan", "Table 2", row, "Gender / Background")
    assert value("sggan", "Sec. 4.3", "SG-GAN(ALL)", "smile accuracy after gender edit") == value("sggan", "Table 2", "SG-GAN(ALL)", "Gender / Smile")
    for n in (5000, 500):
        assert value("sggan", "Fig. 3", f"SG-GAN({n})", "labelled images per value") == n
        assert value("sggan", "Sec. 4.3", f"SG-GAN({n})", "labelled samples per value") == n
    for judged in (*SG, "Background"):  # the row of real images is printed in both halves
        assert value("sggan", "Table 2", "CelebA", f"Gender / {judged}") == value("sggan", "Table 2", "CelebA", f"Hair Color / {judged}")


def test_sggan_tables_2_and_3_agree_but_for_the_conflict_in_the_notes(value, note):
    two = {a: value("sggan", "Table 2", "SG-GAN(500)", f"{a} / {a}") for a in ("Gender", "Hair Color")}
    three = {a: value("sggan", "Table 3", "Refined RIL", a) for a in two}
    assert two["Hair Color"] == three["Hair Color"]
    assert two["Gender"] - three["Gender"] == pytest.approx(0.10)
    assert "conflict: Table 3 prints 93.26" in note("sggan", "Table 2", "SG-GAN(500)", "Gender / Gender")
    assert "conflict: Table 2 prints 93.36" in note("sggan", "Table 3", "Refined RIL", "Gender")


def test_sggan_sparse_rates(value, note):
    """Half of the training images carry a value; the printed quotient 500/10,000 = 0.005 is the exception, said in its notes."""
    half = (value("sggan", "Sec. 4.2", "CelebA", "images") - value("sggan", "Sec. 4.2", "test set", "images")) / 2
    for n in (5000, 500):
        rate = value("sggan", "Sec. 4.3", f"SG-GAN({n})", "sparse rate")
        assert n / half == pytest.approx(rate, rel=0.05)
    row = ("sggan", "Sec. 4.3", "SG-GAN(500)")
    quotient = value(*row, "labelled images in the printed ratio") / value(*row, "all images in the printed ratio")
    assert quotient == pytest.approx(10 * value(*row, "printed ratio"))
    assert note(*row, "all images in the printed ratio").startswith("misprint:") and note(*row, "printed ratio").startswith("misprint:")


def test_sggan_scores_above_the_ceiling_are_noted(frame, value):
    """An accuracy above the classifier's own on real images is not the edit's merit: every such cell says so, and no other does."""
    above = []
    for method in FIVE:
        for edit in ("Gender", "Hair Color"):
            for judged in (*SG, "Background"):
                head = f"{edit} / {judged}"
                if value("sggan", "Table 2", method, head) > value("sggan", "Table 2", "CelebA", head):
                    above.append((method, head))
    noted = frame[(frame["paper"] == "sggan") & (frame["table"] == "Table 2") & frame["note"].str.contains("above the ceiling")]
    assert sorted(above) == sorted(zip(noted["row"], noted["column"], strict=True))


def test_bridgegan_counts(value):
    assert {value("bridgegan", f"Fig. {k}", row, "n attributes") for k, row in
            ((3, "discriminator D and classifier C"), (4, "mapping network M"), (5, "encoder E"))} == {len(FACE)}  # fmt: skip
    # D halves the image once per block down to its 8 x 8 head; M doubles its 4 x 4 seed up to the encoder's 64 x 64
    size = value("bridgegan", "Fig. 2", "generator G", "input width")
    assert size / 2 ** value("bridgegan", "Sec. B", "discriminator D and classifier C", "shared residual blocks") == 8
    assert 4 * 2 ** value("bridgegan", "Sec. B", "mapping network M", "up-sampling blocks") == size / 2
    assert value("bridgegan", "Sec. B", "generator G", "down-sampling blocks") == value("bridgegan", "Sec. B", "generator G", "up-sampling blocks")


def test_wgan_gp_papers_share_the_penalty_weight_and_adam(value):
    assert value("atigan", "Sec. 4.2", "loss weights", "lambda_gp") == value("sagan", "Sec. 3", "loss weights", "lambda_gp") == 10
    assert value("sggan", "Eq. (8)", "gradient penalty", "lambda") == 10
    for paper, section in (("atigan", "Sec. 4.2"), ("bridgegan", "Sec. C"), ("sagan", "Sec. 3"), ("sggan", "Sec. 3.2")):
        assert (value(paper, section, "Adam", "beta1"), value(paper, section, "Adam", "beta2")) == (0.5, 0.999)


def test_every_misprint_says_what_is_wrong(frame):
    flagged = frame[frame["note"].str.contains("misprint")]
    assert flagged["note"].str.contains(r"misprint: .{20,}").all()
    assert set(zip(flagged["paper"], flagged["table"], strict=True)) == {
        ("atigan", "Sec. 4.2"), ("atigan", "Algorithm 1"), ("diat", "Table 1"), ("diat", "Eq. (4)"), ("sagan", "Table 2"), ("sggan", "Eq. (8)"),
        ("sggan", "Sec. 4.3"), ("sggan", "Table 5"),
    }  # fmt: skip


def test_readme_defines_every_column_and_metric():
    text = (FILE.parent / "README.md").read_text(encoding="utf-8")
    metrics = (
        "edit_success unedited_floor unrelated_kept change_inside_l1 change_outside_l1 change_outside_psnr own_label_l1 "
        "identity_cosine lpips psnr ssim ms_ssim fid is frechet_judge is_judge auc tpr_at_fpr_1e-2 tpr_at_fpr_1e-3 "
        "counterfactual_psnr counterfactual_lpips mask_iou mask_mean mask_share mask_saturated mask_roi_mass judge_accuracy "
        "judge_balanced_accuracy judge_majority_rate ms_per_image iterations_per_second"
    ).split()
    defined = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", text, flags=re.M)
    names = {name for cell in defined for name in re.findall(r"`([^`]+)`", cell)}
    columns = "metric ci_low ci_high n protocol paper_value id claim source criterion measured verdict stage cycle".split()
    assert {*metrics, *COLUMNS, *columns} - names == set()
