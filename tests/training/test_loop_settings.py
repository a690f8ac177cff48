"""Each setting of a run does something: another value, another result."""

from dataclasses import replace

import pytest
import torch

from dmaf_lite.data.augmentation import AugmentationSettings
from dmaf_lite.data.batches import TrainingBatches
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.spec import BRATS
from dmaf_lite.training.loop import TrainSettings, batch_settings, train
from dmaf_lite.training.step import StepModel, train_step

TINY = TrainSettings(network_options={"width": 4, "levels": 2}, crop=(8, 8, 8), steps=3, log_every=3,
                     checkpoint_every=3, objective_options={"warmup": 0.0}, precision="float32")
OTHER = {"lr": 1e-2, "weight_decay": 0.5, "poly": 0.0, "clip": 1e-3, "seed": 1, "accumulate": 2, "batch": 1,
         "foreground": 0.0, "augmentation": AugmentationSettings(flip=0.0), "crop": (16, 8, 8),
         "objective_options": {"warmup": 0.0, "lambda_cov": 0.0}}


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def three_steps(tiny_cohort, tmp_path_factory):
    """Weights after three steps of a run with some settings changed."""
    def run(**changes):
        folder = tmp_path_factory.mktemp("run")
        settings = replace(TINY, **changes)
        return weights(train(TrainingSet(tiny_cohort, tiny_cohort.names), folder, settings, progress=False))

    return run, run()


@pytest.mark.parametrize("name", OTHER)
def test_another_value_of_a_setting_is_another_result(three_steps, name):
    run, before = three_steps
    assert equal(before, run(seed=0)), "the same settings are the same result"
    assert not equal(before, run(**{name: OTHER[name]}))


def test_the_gradient_is_clipped_to_its_norm(tiny_cohort):
    """With plain gradient descent the step is as long as the clipped gradient."""
    batch = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), batch_settings(TINY))[0]
    for clip in (1e-3, 1e9):
        torch.manual_seed(0)
        net = build_network("dmaf_net", BRATS, **TINY.network_options)
        objective = build_objective("plain", BRATS, net)
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        before = weights(net)
        train_step(StepModel(net, objective), optimizer, [batch], 0, clip=clip)
        moved = torch.cat([(net.state_dict()[k] - v).flatten() for k, v in before.items()]).norm()
        assert moved == pytest.approx(1e-3, rel=1e-2) if clip == 1e-3 else moved > 0.1
