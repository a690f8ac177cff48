"""What has to hold on a GPU as it does on a CPU: numbers, no waiting, missing scans, determinism, resume."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_work import LATE, Training, layout, random_batch
from dmaf_lite.base.device import choose_device, choose_precision, deterministic_algorithms
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.methods.pairings import PAIRINGS
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.training.loop import TrainSettings, train

SMALL = {"baseline": {"width": 4, "levels": 3}, "dmaf_net": {"width": 4, "levels": 3}, "rfnet": {"width": 8},
         "mmformer": {}, "adamm": {"width": 8}}
MASKS = [[True, True, False, True], [False, True, True, False]]


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Norm of the difference over the norm of the second, on the CPU."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


def gradients(training: Training, side: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Terms and gradients of the first step."""
    device = next(training.model.parameters()).device
    batch = random_batch(side, 2, device, masks=MASKS)
    training.optimizer.param_groups[0]["lr"] = 0.0
    terms = training.step(batch)
    return ({name: term.value for name, term in terms.items()},
            {name: p.grad for name, p in training.model.named_parameters() if p.grad is not None})


def same_as_cpu(device: torch.device, small: bool) -> dict[str, Any]:
    """One step in float32 without TF32, in both layouts, and in bfloat16, beside the CPU's: relative differences."""
    side = 16 if small else 32
    options = {"width": 4, "levels": 3} if small else {}
    reference = gradients(Training.of("cpu", **options), side)
    found = {}
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        for precision, how in (("float32", "first"), ("float32", "last"), ("bfloat16", "first"), ("bfloat16", "last")):
            with layout(how):
                got = gradients(Training.of(device, precision=precision, **options), side)
            whole = [torch.cat([g.flatten().cpu() for g in grads.values()]) for _, grads in (got, reference)]
            size = float(whole[1].norm())  # one for all: some gradients are 0 but for rounding
            found[f"{precision}, channels {how}"] = {
                "same parameters": list(got[1]) == list(reference[1]), "all gradients": apart(*whole),
                "worst gradient": max((float((got[1][n].cpu() - g.cpu()).norm()) / size, n)
                                      for n, g in reference[1].items()),
                "worst term": max((apart(got[0][n], reference[0][n]), n) for n in reference[0])}
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    found["good"] = all(found[f"float32, channels {how}"]["all gradients"] < 1e-3 for how in ("first", "last"))
    found["auto"] = [str(choose_device()), str(choose_precision("auto", device))]
    return found


def no_waiting(device: torch.device, small: bool) -> dict[str, str]:
    """Every network with every objective: the second step with synchronisation forbidden."""
    found = {}
    for (network, objective), (works, _) in PAIRINGS.items():
        if not works:
            continue
        side = 80 if network == "mmformer" else 32
        if small and side == 80:
            continue
        try:
            training = Training.of(device, network=network, objective=objective, **SMALL[network])
            batch = random_batch(side, 2, device, masks=MASKS)
            training.step(batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode("error")
            training.step(batch, LATE + 1)
            found[f"{network} + {objective}"] = "good"
        except Exception as error:
            found[f"{network} + {objective}"] = f"{type(error).__name__}: {str(error)[:300]}"
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    return found


def missing_never_matters(device: torch.device, small: bool) -> dict[str, bool]:
    """NaN in place of a missing scan: the same bits, finite gradients; in both layouts."""
    found = {}
    for how in ("first", "last"):
        with layout(how), torch.no_grad():
            training = Training.of(device, width=4, levels=3)
            batch = random_batch(16, 2, device, masks=MASKS)
            net = training.model.net.eval()
            clean = net(batch.images, batch.available).logits
            missing = ~batch.available.to(device)
            spoilt = torch.where(missing[:, :, None, None, None], torch.nan, batch.images)
            dirty = net(spoilt, batch.available).logits
            found[f"same bits, channels {how}"] = torch.equal(clean, dirty)
        with layout(how):
            training.model.train()
            training.step(replace(batch, images=spoilt))
            found[f"finite gradients, channels {how}"] = all(
                bool(p.grad.isfinite().all()) for p in training.model.parameters() if p.grad is not None)
    found["pairs are kept"] = device.type == "cpu" or Pairs.of(batch.available, device) is Pairs.of(
        batch.available, device)
    return found


def determinism(device: torch.device, small: bool) -> dict[str, Any]:
    """Five steps twice, with and without deterministic algorithms: equal digits, and what it costs."""
    import time
    import warnings

    found: dict[str, Any] = {}
    for on in (False, True):
        states = []
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(2):
                training = Training.of(device, **({"width": 4, "levels": 3} if small else {}))
                start = time.perf_counter()
                with deterministic_algorithms(on):
                    for step in range(5):
                        training.step(random_batch(32, 2, device, masks=MASKS, seed=step), LATE + step)
                states.append(training.state())
        found[f"deterministic {on}"] = {
            "equal": all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True)),
            "seconds of five": round(time.perf_counter() - start, 3),
            "warnings": sorted({str(w.message).split(".")[0][:150] for w in said})[:8]}
    return found


def small_cohort(folder: Path, *, count: int, spacing: float = 3.0, workers: int = 0) -> Cohort:
    """Phantoms, prepared."""
    from dmaf_lite.phantom.brain.recipe import write_brain_cohort

    write_brain_cohort(folder / "raw", count=count, seed=0, spacing=spacing, workers=workers)
    prepare_cohort(folder / "raw", folder / "store", layout="phantom", minimum=32, workers=workers)
    return Cohort(folder / "store")


def resume(device: torch.device, small: bool) -> dict[str, Any]:
    """A run stopped and started again beside one that was not, deterministic: the same weights, to the last bit?"""
    settings = TrainSettings(steps=6, checkpoint_every=2, log_every=3, deterministic=True,
                             network_options={"width": 4, "levels": 3} if small else {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = small_cohort(folder, count=2)

        def go(run: str, **more: object) -> dict[str, torch.Tensor]:
            return train(cohort, cohort.names, folder / run, settings, device=str(device), progress=False,
                         **more).state_dict()

        whole = go("whole")
        go("parts", stop_after=3)
        parts = go("parts")
        ahead = go("ahead", workers=2)
    return {"equal": all(torch.equal(whole[k], parts[k]) for k in whole),
            "equal with workers and pinned memory": all(torch.equal(whole[k], ahead[k]) for k in whole),
            "largest difference": max(float((whole[k].float() - parts[k].float()).abs().max()) for k in whole)}
