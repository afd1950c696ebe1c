"""The renderer: determinism, exactness of counterfactuals, landmarks on their features, CelebA's statistics, animals."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import synthetic as S
from lib.sources import sources
from lib.synthetic import animals, canvas

SEEDS = st.integers(0, 2**62)


@pytest.fixture(autouse=True)
def one_thread():
    """Short operations on several threads wait for each other where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def luminance(images):
    """(B, S, S) brightness in [-1, 1]."""
    return images.mean(1)


def column(faces, name):
    return S.attributes(faces)[:, S.ATTRIBUTES.index(name)].bool()


def extremes(seed, n=4):
    """Faces whose every drawn parameter is at its lower end, in the middle or at its upper end, with any attributes."""
    faces = S.sample(seed, range(n), balanced=True)
    pick = torch.Generator().manual_seed(seed % 2**31)
    ends = {}
    for name, (_, low, high, _) in S.ranges().items():
        ends[name] = torch.tensor([low, (low + high) / 2, high])[torch.randint(0, 3, (n,), generator=pick)]
    return dataclasses.replace(faces, **ends)


# --- pictures ---


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([32, 45, 64]))
def test_any_parameters_in_range_give_a_finite_picture_in_range(seed, size):
    faces = extremes(seed)
    images = S.render(faces, size)
    assert images.shape == (4, 3, size, size) and images.dtype == torch.float32
    assert images.isfinite().all() and images.min() >= -1 and images.max() <= 1
    assert (images.flatten(1).std(1) > 0.1).all(), "an empty picture"
    for points, n in ((S.landmarks5(faces, size), 5), (S.landmarks68(faces, size), 68)):
        assert points.shape == (4, n, 2) and points.isfinite().all()
        assert points.min() > 0.1 * size and points.max() < 0.99 * size


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, start=st.integers(0, 10**12), cut=st.integers(1, 19), size=st.sampled_from([32, 50, 64]))
def test_a_face_is_the_same_in_any_batch(seed, start, cut, size):
    index = range(start, start + 20)
    faces = S.sample(seed, index, balanced=True)
    whole = S.render(faces, size)
    for part in (slice(0, cut), slice(cut, 20), slice(cut - 1, cut)):
        again = S.sample(seed, torch.arange(20)[part] + start, balanced=True)
        for field in dataclasses.fields(S.Faces):
            assert torch.equal(getattr(again, field.name), getattr(faces, field.name)[part]), field.name
        assert torch.equal(S.render(again, size), whole[part])
    assert not torch.equal(S.sample(seed + 1, index).yaw, faces.yaw)


def test_chunks_and_threads_leave_no_trace(monkeypatch):
    faces = S.sample(3, range(40))
    whole = S.render(faces, 32)
    monkeypatch.setattr(canvas, "CHUNK", 7 * 32 * 32)
    assert torch.equal(S.render(faces, 32), whole)
    torch.set_num_threads(3)
    assert torch.equal(S.render(faces, 32), whole) and torch.get_num_threads() == 3


def test_resolutions_agree():
    """Box-averaging a 128 render gives the 64 render but for the edges: .012 of the full range 2 on average, measured; another face: .43."""
    faces = dataclasses.replace(S.sample(5, range(24)), grain=torch.zeros(24))
    small, large = S.render(faces, 64), F.avg_pool2d(S.render(faces, 128), 2)
    own = (small - large).abs().mean((1, 2, 3))
    other = (small - large.roll(1, 0)).abs().mean((1, 2, 3))
    assert own.max() < 0.03, own
    assert 0.001 < own.mean() < 0.02, own.mean()
    assert other.min() > 3 * own.max()


def test_hair_colours_keep_clear_of_each_other():
    """The mean colour of the hair tells the four named colours, and none of them, apart: by the nearest among 120 other people."""
    faces = S.sample(43, torch.arange(160) * 53)
    for name, value in (("Wearing_Hat", 0), ("Young", 1)):
        faces = S.counterfactual(faces, name, value)
    places = [S.ATTRIBUTES.index(name) for name in S.HAIR_COLOURS]

    def coloured(kind):  # 4: none of the named ones
        state = faces.state.clone()
        state[:, places] = (torch.arange(4) == kind).long()
        return S.render(dataclasses.replace(faces, state=state), 32)

    black, grey = coloured(0), coloured(S.HAIR_COLOURS.index("Gray_Hair"))
    hair = ((grey - black).mean(1, keepdim=True) > 0.6).float()
    assert hair.sum((1, 2, 3)).min() > 5
    colours = torch.stack([(coloured(kind) * hair).sum((2, 3)) / hair.sum((2, 3)) for kind in range(5)], 1)  # (160, 5, 3)
    kinds = torch.arange(5).repeat(40)
    said = torch.cdist(colours[120:].flatten(0, 1), colours[:120].flatten(0, 1)).argmin(1) % 5
    assert (said == kinds).double().mean() > 0.97, torch.bincount(kinds * 5 + said, minlength=25).view(5, 5)


def test_sizes_outside_the_range_are_refused():
    faces = S.sample(0, range(1))
    for size in (16, 1024):
        with pytest.raises(ValueError, match="32 to 512"):
            S.render(faces, size)


def test_all_that_draws_a_face_is_in_the_fingerprint():
    package = {f"lib/synthetic/{name}.py" for name in ("__init__", "parameters", "geometry", "canvas", "portrait")}
    assert set(sources(S.__name__)) == package


# --- counterfactuals ---


@pytest.mark.parametrize("attribute", S.ATTRIBUTES)
def test_a_counterfactual_changes_its_region_and_nothing_else(attribute):
    faces = S.sample(7, range(500, 524), balanced=True)
    k = S.ATTRIBUTES.index(attribute)
    flipped = S.counterfactual(faces, attribute, 1 - faces.state[:, k])
    for field in dataclasses.fields(S.Faces):
        if field.name not in ("state", "jaw_beard"):
            assert torch.equal(getattr(flipped, field.name), getattr(faces, field.name)), field.name
    assert (flipped.state[:, k] == 1 - faces.state[:, k]).all()
    groups = (set(S.HAIR_COLOURS), {"No_Beard", *S.BEARD_PARTS})
    related = next((group for group in groups if attribute in group), set())
    others = [j for j, name in enumerate(S.ATTRIBUTES) if name != attribute and name not in related]
    assert torch.equal(flipped.state[:, others], faces.state[:, others])

    before, after, region = S.render(faces, 64), S.render(flipped, 64), S.region(faces, attribute, 64)
    assert region.shape == (24, 1, 64, 64) and region.dtype == torch.bool
    assert torch.equal(before.masked_fill(region, 0), after.masked_fill(region, 0))
    assert torch.equal(S.region(flipped, attribute, 64).sum() > 0, torch.tensor(True))
    # visible: several pixels change by more than a twentieth of the range
    strong = ((before - after).abs().amax(1) > 0.1).flatten(1).sum(1)
    assert strong.float().median() >= 12 and strong.min() >= 1, strong
    # and in a few pieces, not sprinkled: hardly a pixel of the region is alone (skin seen between strands may be)
    near = F.conv2d(region.float(), torch.ones(1, 1, 3, 3), padding=1)
    alone = (region & (near < 2)).flatten(1).sum(1)
    assert (alone <= 3 + 0.01 * region.flatten(1).sum(1)).all(), alone


@pytest.mark.parametrize(
    ("attribute", "left", "top", "right", "bottom"),
    [
        ("Eyeglasses", 0.18, 0.36, 0.82, 0.68),
        ("Mustache", 0.32, 0.62, 0.68, 0.82),
        ("Goatee", 0.33, 0.70, 0.67, 0.99),
        ("Wearing_Lipstick", 0.34, 0.67, 0.66, 0.87),
        ("Sideburns", 0.16, 0.38, 0.84, 0.75),
        ("Bangs", 0.15, 0.05, 0.85, 0.56),
        ("Mouth_Slightly_Open", 0.15, 0.60, 0.85, 1.0),
        ("Wearing_Hat", 0.0, 0.0, 1.0, 0.60),
    ],
)
def test_local_edits_stay_local(attribute, left, top, right, bottom):
    region = S.region(S.sample(9, range(32), balanced=True), attribute, 100).any(0)[0]
    rows, cols = region.any(1).nonzero()[:, 0], region.any(0).nonzero()[:, 0]
    assert rows.min() >= 100 * top - 1 and rows.max() <= 100 * bottom + 1, (rows.min(), rows.max())
    assert cols.min() >= 100 * left - 1 and cols.max() <= 100 * right + 1, (cols.min(), cols.max())


def test_the_same_value_changes_nothing_and_two_flips_restore():
    faces = S.sample(11, range(300), balanced=True)
    for k, name in enumerate(S.ATTRIBUTES):
        same = S.counterfactual(faces, name, faces.state[:, k])
        assert torch.equal(same.state, faces.state) and torch.equal(same.jaw_beard, faces.jaw_beard)
        if name in ("No_Beard", *S.HAIR_COLOURS):
            continue  # setting these clears others, which nothing restores
        twice = S.counterfactual(S.counterfactual(faces, name, 1 - faces.state[:, k]), name, faces.state[:, k])
        assert torch.equal(twice.state, faces.state), name


def test_counterfactuals_keep_the_logic_of_labels():
    faces = S.sample(13, range(400), balanced=True)
    colours = [S.ATTRIBUTES.index(c) for c in S.HAIR_COLOURS]
    for name in S.HAIR_COLOURS:
        for value in (0, 1):
            assert (S.counterfactual(faces, name, value).state[:, colours].sum(1) <= 1).all()
    black = faces[column(faces, "Black_Hair")]
    followers = S.counterfactual(black, "Black_Hair", 0).state[:, colours]
    assert (followers[:, 1:].sum(0) > 0).all() and (followers.sum(1) == 0).any(), "each other colour, and none, takes its turn"
    for name in ("No_Beard", *S.BEARD_PARTS):
        for value in (0, 1):
            edited = S.counterfactual(faces, name, value)
            beard = edited.jaw_beard.bool() | torch.stack([column(edited, part) for part in S.BEARD_PARTS]).any(0)
            assert torch.equal(column(edited, "No_Beard"), ~beard), name
    clean = faces[column(faces, "No_Beard") & ~column(faces, "Male")]
    assert S.counterfactual(clean, "No_Beard", 0).jaw_beard.all(), "a beard of her own"


def test_bad_edits_are_refused_by_name():
    faces = S.sample(0, range(2))
    with pytest.raises(ValueError, match="Glasses.*Eyeglasses"):
        S.counterfactual(faces, "Glasses", 1)
    with pytest.raises(ValueError, match="0 or 1"):
        S.counterfactual(faces, "Male", 2)
    with pytest.raises(ValueError, match="unknown attribute"):
        S.region(faces, "Glasses", 64)
    with pytest.raises(ValueError, match="from 0"):
        S.sample(0, torch.tensor([-1]))


# --- landmarks ---


def test_five_landmarks_are_where_celeba_has_them():
    mean = S.landmarks5(S.sample(15, torch.arange(2000) * 53), 1).mean(0)
    expected = torch.tensor([[0.39, 0.515], [0.605, 0.515], [0.494, 0.65], [0.405, 0.745], [0.587, 0.745]])
    assert (mean - expected).abs().max() < 0.012, mean


def test_landmarks_lie_on_their_features():
    plain = S.sample(17, range(200), balanced=True)
    for name in ("Eyeglasses", "Wearing_Hat", "Bangs"):
        plain = S.counterfactual(plain, name, 0)
    plain = dataclasses.replace(S.counterfactual(plain, "Wearing_Lipstick", 0)[:32], blur=torch.zeros(32), gaze=torch.zeros(32))
    size = 128
    five, many, light = S.landmarks5(plain, size), S.landmarks68(plain, size), luminance(S.render(plain, size))

    def at(points):  # (B, k) brightness at points (B, k, 2)
        ij = points.long().clamp(0, size - 1)
        return light[torch.arange(len(light))[:, None], ij[..., 1], ij[..., 0]]

    for eye, (first, last) in enumerate(((36, 42), (42, 48))):
        contour = many[:, first:last]
        assert (five[:, eye] > contour.amin(1)).all() and (five[:, eye] < contour.amax(1)).all(), "the centre is inside the contour"
        pupil, cheek = at(five[:, eye : eye + 1])[:, 0], at(five[:, eye : eye + 1] + torch.tensor([0.0, 0.07 * size]))[:, 0]
        assert (pupil < cheek - 0.15).float().mean() > 0.95 and pupil.mean() < -0.5
    # the lips: all that a lipstick paints lies within the outer contour of the mouth
    painted = S.region(plain, "Wearing_Lipstick", size)[:, 0]
    ys, xs = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    for b in range(len(plain)):
        outer = many[b, 48:60]
        box = torch.stack([xs[painted[b]].min(), ys[painted[b]].min(), xs[painted[b]].max(), ys[painted[b]].max()])
        assert (box - torch.cat([outer.amin(0), outer.amax(0)])).abs().max() < 3.5, (b, box)
    assert torch.allclose(many[:, [48, 54]], five[:, 3:], atol=1e-4) and torch.allclose(many[:, 30], five[:, 2], atol=1e-4)
    # the chin: skin above point 8, and the pale counterfactual changes the skin just within the jaw
    skin = S.region(plain, "Pale_Skin", size)[:, 0]
    centre = many[:, 27:31].mean(1, keepdim=True)
    inner = (many[:, 4:13] + 0.12 * (centre - many[:, 4:13])).long()
    assert skin[torch.arange(len(plain))[:, None], inner[..., 1], inner[..., 0]].float().mean() > 0.97


def test_landmarks_follow_expression_and_size():
    faces = S.sample(19, range(64))
    closed, opened = (S.landmarks68(S.counterfactual(faces, "Mouth_Slightly_Open", v), 128) for v in (0, 1))
    gap = lambda p: p[:, 66, 1] - p[:, 62, 1]  # noqa: E731
    assert gap(closed).abs().max() < 0.01 and gap(opened).min() > 2
    serious, smiling = (S.landmarks5(S.counterfactual(faces, "Smiling", v), 128) for v in (0, 1))
    assert (smiling[:, 4, 0] - smiling[:, 3, 0] > serious[:, 4, 0] - serious[:, 3, 0] + 1).all()
    assert torch.allclose(S.landmarks68(faces, 256), 2 * S.landmarks68(faces, 128), atol=1e-3)


# --- statistics ---


@pytest.fixture(scope="module")
def natural():
    return S.sample(23, torch.arange(20000) * 101)  # strided: nearly as many people as pictures


def test_rates_and_correlations_follow_celeba(natural):
    a = S.attributes(natural).double()
    rates = torch.tensor([S.CELEBA_RATES[name] for name in S.ATTRIBUTES], dtype=torch.float64)
    assert (a.mean(0) - rates).abs().max() < 0.015, dict(zip(S.ATTRIBUTES, (a.mean(0) - rates).tolist(), strict=True))
    phi, table = torch.corrcoef(a.T), torch.tensor(S.CELEBA_PHI, dtype=torch.float64) / 100
    assert torch.equal(table, table.T)
    assert (phi - table).abs().max() < 0.08
    shuffled = table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    assert (phi - shuffled).abs().max() > 0.5, "the bound tells tables apart"


def test_labels_obey_logic(natural):
    for faces in (natural, S.sample(23, range(5000), balanced=True)):
        assert (sum(column(faces, c).int() for c in S.HAIR_COLOURS) <= 1).all()
        beard = faces.jaw_beard.bool() | torch.stack([column(faces, part) for part in S.BEARD_PARTS]).any(0)
        assert torch.equal(column(faces, "No_Beard"), ~beard)
    assert not (~column(natural, "No_Beard") & ~column(natural, "Male")).any()


def test_balanced_attributes_are_independent():
    faces = S.sample(29, torch.arange(20000) * 101, balanced=True)
    a = S.attributes(faces).double()
    expected = {**dict.fromkeys(S.HAIR_COLOURS, 0.2), **dict.fromkeys(S.BEARD_PARTS, 0.25)}
    for k, name in enumerate(S.ATTRIBUTES):
        assert abs(a[:, k].mean() - expected.get(name, 0.5)) < 0.015, name
    free = [k for k, name in enumerate(S.ATTRIBUTES) if name not in expected]
    phi = torch.corrcoef(a[:, free].T) - torch.eye(len(free))
    assert phi.abs().max() < 0.035
    same = S.sample(29, torch.arange(50) * 101)
    assert torch.equal(same.tone, faces.tone[:50]) and torch.equal(same.identity, faces.identity[:50])


def test_people_recur_as_in_celeba():
    faces = S.sample(31, range(4096))
    people, counts = faces.identity.unique(return_counts=True)
    assert len(people) == 4 * 52 and counts.max() == 35 and counts.min() == 1
    assert 19 < counts.double().mean() < 20.5
    few = S.sample(31, range(200)).identity.unique(return_counts=True)[1]
    assert (few >= 2).double().mean() > 0.8, "a small set too has people with several pictures"
    person = faces[faces.identity == people[counts.argmax()]]
    for name, (scope, *_) in S.ranges().items():
        assert (len(getattr(person, name).unique()) == 1) == (scope == "identity"), name
    assert len(column(person, "Male").unique()) == 1 and len(column(person, "Smiling").unique()) == 2
    order = S.sample(32, range(4096)).identity
    assert not torch.equal(order, faces.identity), "another seed, another order"


# --- animals ---


def test_animals_are_three_domains_that_a_linear_rule_tells_apart():
    some = animals.sample(1, range(360))
    small = F.avg_pool2d(animals.render(some, 32), 4).flatten(1)
    x, y = torch.cat([small, torch.ones(360, 1)], 1), F.one_hot(some.domain, 3).float()
    assert y.mean(0).min() > 0.25
    weights = torch.linalg.solve(x[:240].T @ x[:240] + 2.0 * torch.eye(x.shape[1]), x[:240].T @ (y[:240] - 1 / 3))
    assert ((x[240:] @ weights).argmax(1) == some.domain[240:]).double().mean() > 0.9


@settings(max_examples=4, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([32, 47]), domain=st.sampled_from(animals.DOMAINS))
def test_animals_are_finite_and_the_same_in_any_batch(seed, size, domain):
    some = animals.sample(seed, range(9), domain)
    assert (some.domain == animals.DOMAINS.index(domain)).all()
    ends = {name: torch.where(torch.arange(9) % 2 > 0, low, high) for name, (_, low, high, _) in S.ranges(animals.Animals).items()}
    for batch in (some, dataclasses.replace(some, **ends)):
        images = animals.render(batch, size)
        assert images.isfinite().all() and images.min() >= -1 and images.max() <= 1
        assert torch.equal(animals.render(batch[3:5], size), images[3:5])


def test_unknown_domains_are_refused():
    with pytest.raises(ValueError, match="bird.*cat, dog, wild"):
        animals.sample(0, range(1), "bird")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_draws_the_same_faces():
    faces, some = S.sample(41, range(32), balanced=True), animals.sample(41, range(16))
    assert (S.render(faces, 64, "cuda").cpu() - S.render(faces, 64)).abs().max() <= 2 / 255
    assert (animals.render(some, 64, "cuda").cpu() - animals.render(some, 64)).abs().max() <= 2 / 255
