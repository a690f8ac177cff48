"""The profiles of the comparison: every method builds, fits its crop, and has the budget of the others."""

import pytest
import torch
from tiny import REPOSITORY

from dmaf_lite.base.settings import from_mapping, read_yaml
from dmaf_lite.experiment.matrix import ExperimentSettings
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.spec import BRATS
from dmaf_lite.training.train_settings import TrainSettings

FOLDER = REPOSITORY / "notebooks" / "profiles" / "experiments"
PROFILES = {name: from_mapping(ExperimentSettings, read_yaml(FOLDER / f"{name}.yaml"))
            for name in ("peers", "peers_full")}
VARIANTS = [(name, variant) for name, profile in PROFILES.items() for variant in profile.variants]


def settings_of(profile: ExperimentSettings, variant: str) -> TrainSettings:
    """Of the first run of a variant."""
    return profile.train_settings(next(run for run in profile.runs if run.variant == variant))


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_method_builds_and_takes_its_crop(name, variant):
    recipe = settings_of(PROFILES[name], variant)
    with torch.device("meta"):
        net = build_network(recipe.network, BRATS, **recipe.network_options)
    build_objective(recipe.objective, BRATS, net, missing_rates=[0.5] * 4, total_steps=recipe.steps,
                    **recipe.objective_options)
    assert all(side % stride == 0 and side >= 2 * stride for side, stride in zip(recipe.crop, net.stride, strict=True))
    if recipe.network == "mmformer":
        assert recipe.crop == (16 * net.settings.grid,) * 3, "a token grid has one window"


@pytest.mark.parametrize("name", PROFILES)
def test_one_budget_for_all(name):
    profile = PROFILES[name]
    free = {"network", "network_options", "objective", "objective_options", "lr"}
    assert all(set(changes) <= free for changes in profile.variants.values())
    assert profile.name == name and len(profile.seeds) >= 2


def test_the_full_profile_has_published_sizes():
    profile = PROFILES["peers_full"]
    assert profile.phantom.counts == {"train": 219, "val": 50, "test": 100}
    recipes = {v: settings_of(profile, v) for v in profile.variants}
    assert {r.crop for r in recipes.values()} == {(80, 80, 80)}
    with torch.device("meta"):
        counts = {v: sum(p.numel() for p in build_network(recipes[v].network, BRATS,
                                                          **recipes[v].network_options).parameters())
                  for v in ("RFNet", "RFNet, original width", "mmFormer")}
    assert counts == {"RFNet": 2_381_792, "RFNet, original width": 8_984_960, "mmFormer": 35_599_184}
