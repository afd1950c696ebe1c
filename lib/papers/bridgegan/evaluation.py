"""BridgeGAN's evaluation: what is trained for it, its tables, figures, measures and claims. Sections A to D of the supplement.

Every method edits the same test faces. `edits` is {method: {(attribute, target): Edited}}, `frame` the table of
`measures.per_face`, one line per edited face and method. One attribute is flipped at a time (STGAN's protocol, D13);
animals follow StarGAN v2's protocol (D14).
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import log2

from lib.baselines import stargan
from lib.data import DataError, FaceSet, Split, domain_names, load_domains
from lib.evaluation import judges
from lib.papers.bridgegan import model as bridgegan
from lib.papers.bridgegan.model import DOMAINS, attributes_of
from lib.training.config import pick, require
from lib.training.models import Job

LABEL, REFERENCE, BETWEEN, STARGAN = "BridgeGAN (label)", "BridgeGAN (reference)", "BridgeGAN (between)", "StarGAN"
CODE = "BridgeGAN, the code's weights"
DOMAIN_JUDGES = ("domain judge a", "domain judge b")


@dataclass(frozen=True)
class Settings:
    """What evaluation reads, and what is trained for comparison. Profile `paper` is the default."""

    faces: int = 200_000  # drawn faces to render (a folder of faces is read whole)
    split: str = "official"  # D12
    test_images: int = 1_000  # test faces per attribute and direction, at most
    strength: float = 1.5  # factor of d for faces: D9
    code_weights: bool = False  # train a second model with the released code's weights: D2
    stargan_steps: int = 40_000  # G updates of the retrained StarGAN: its paper's
    domains: str = "animals"  # the built-in ones, or a folder in AFHQ's layout with the domains cat, dog and wild
    domain_size: int = 256  # Sec. D
    domain_steps: int = bridgegan.PAPER_STEPS  # G updates of the animals' model; not stated: D14
    domain_images: int = 15_000  # built-in animals to render (a folder is read whole)
    domain_sources: int = 500  # val images per domain that are translated, at most: StarGAN v2's
    domain_outputs: int = 10  # translations of each: StarGAN v2's
    domain_judge_steps: int = 6_000  # updates of each judge of domains

    def __post_init__(self):
        pick(dict.fromkeys(("official", "random", "most_images")), self.split, "split")
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                require(value > 0, name, value, "positive")
        size = self.domain_size
        require(size >= 32 and size & (size - 1) == 0, "domain_size", size, "a power of two, at least 32")


SETTINGS = {
    "smoke": Settings(
        faces=600, test_images=8, code_weights=True, stargan_steps=2, domain_size=32, domain_steps=2, domain_images=90, domain_sources=4,
        domain_outputs=2, domain_judge_steps=4,
    ),
    "cpu": Settings(
        faces=40_000, test_images=100, stargan_steps=8_000, domain_size=64, domain_steps=1_500, domain_images=6_000, domain_sources=50,
        domain_outputs=4, domain_judge_steps=1_000,
    ),
    "gpu": Settings(
        faces=60_000, test_images=500, stargan_steps=8_000, domain_size=128, domain_steps=4_000, domain_images=10_000, domain_sources=200,
    ),
    "paper": Settings(),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ what is trained


def of_domains(cfg: bridgegan.Config, settings: Settings) -> bridgegan.Config:
    """The configuration of the animals' model that belongs to one for faces (D14)."""
    return replace(cfg, task="domains", attribute="all", size=settings.domain_size, g_steps=settings.domain_steps)


@lru_cache(maxsize=2)
def read_domains(data: str, size: int, count: int) -> tuple[FaceSet, Split]:
    """`load_domains`, once a process. Raises DataError for domains other than cat, dog and wild, before a picture is read."""
    names = domain_names(data)
    if names != DOMAINS:
        raise DataError(f"{data}: its domains are {', '.join(names)}; the model knows {', '.join(DOMAINS)}. Rename or remove folders.")
    return load_domains(data, size, n=count)


def animals_of(plan) -> tuple[FaceSet, Split]:
    """The animals of a study and their split. Raises DataError if they may not be published while the faces may: one page
    would show what must not be shown."""
    faces, split = read_domains(plan.settings.domains, plan.settings.domain_size, plan.settings.domain_images)
    if plan.faces.publishable and not faces.publishable:
        raise DataError(f"{faces.name}: these pictures may not be published, those of {plan.faces.name} may. Give built-in sets or folders for both.")
    return faces, split


def jobs(plan) -> dict[str, Job]:
    """Every model of the notebook: the faces' and the animals', StarGAN for the same attributes (as many processor seconds
    in profile cpu), and two judges of domains."""
    cfg, s, names = plan.cfg, plan.settings, attributes_of(plan.cfg)
    animals, parts = animals_of(plan)
    star = replace(
        stargan.PROFILES[plan.profile](), attributes=",".join(names), size=cfg.size, d_layers=int(log2(cfg.size)) - 1, g_steps=s.stargan_steps,
        flip=False,
    )  # fmt: skip
    out = {"BridgeGAN": plan.job(bridgegan, cfg)}
    if s.code_weights:
        out[CODE] = plan.job(bridgegan, replace(cfg, weights="code"))
    out |= {STARGAN: plan.job(stargan, star), "BridgeGAN, animals": plan.job(bridgegan, of_domains(cfg, s), faces=animals, split=parts)}
    budget = vars(judges.PROFILES[plan.profile]()) | {"steps": s.domain_judge_steps, "size": s.domain_size}
    for name, kind in zip(DOMAIN_JUDGES, ("places", "resnet18"), strict=True):
        out[name] = plan.job(judges, judges.Config(kind, ",".join(DOMAINS), **budget), faces=animals, split=parts, seed=0)
    return out


CLAIMS = ()
