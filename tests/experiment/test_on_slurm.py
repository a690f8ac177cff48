"""A matrix on a real Slurm, of this machine alone: an array with a cap, preempted, and every row there in the end."""

import importlib.util
import subprocess
import time
from contextlib import ExitStack

import pytest
from one_machine_slurm import CPUS, CannotStart, running_slurm, why_not

from dmaf_lite.base.settings import from_mapping
from dmaf_lite.data.splits import write_split
from dmaf_lite.experiment import engines
from dmaf_lite.experiment.matrix import collect, open_matrix
from dmaf_lite.experiment.profile import ExperimentSettings
from dmaf_lite.experiment.status import as_text, status

pytestmark = pytest.mark.slurm
PATIENCE = 900  # seconds; the machine of a test may be busy

PROFILE = {
    "name": "tiny",
    "common": {"network_options": {"width": 2, "levels": 2, "grid": 2, "depth": 1}, "crop": [8, 8, 8], "steps": 100,
               "batch": 1, "log_every": 1, "checkpoint_every": 5, "objective": "plain", "precision": "float32"},
    "variants": {"baseline": {"network": "baseline"}, "dmaf": {}},
    "rates": {"complete": {}, "rare": {"FLAIR": 0.5, "T1ce": 0.0, "T1": 0.0, "T2": 0.5}},
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if reason := why_not() or (None if importlib.util.find_spec("submitit") else "submitit is not installed"):
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            stack.enter_context(running_slurm(tmp_path_factory.mktemp("slurm")))
        except CannotStart as error:
            pytest.skip(f"Slurm cannot be started here: {error}")
        yield


def queue(*options: str) -> list[str]:
    return subprocess.run(["squeue", "-h", *options], capture_output=True, text=True).stdout.split()


def wait_for(what, folder) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, as_text(status(folder)) + str(queue())
        time.sleep(0.3)


def test_a_preempted_array_ends_with_every_row(slurm, tiny_cohort, tmp_path, monkeypatch):
    names = tiny_cohort.names
    write_split(tmp_path / "split", {"train": names[:2], "val": [], "test": names[3:]})
    settings = from_mapping(ExperimentSettings, PROFILE)
    matrix = open_matrix(settings, tmp_path / "out", cohort=tiny_cohort.folder, split=tmp_path / "split")
    words = engines.arguments(matrix, cohort=tiny_cohort.folder, split=tmp_path / "split", device="cpu")
    jobs = engines.submit(matrix, words, at_once=2, partition="low", minutes=30, cpus=CPUS // 2)
    assert len(jobs) == 4 and len({job.job_id.split("_")[0] for job in jobs}) == 1  # one array

    # Both jobs that may run have to train: one that has not yet said how it wants to be stopped just ends.
    wait_for(lambda: sum(run.state == "running" and run.step > 5 for run in status(matrix.folder)) == 2, matrix.folder)
    assert len(queue("-t", "running", "-r", "-o", "%i")) <= 2  # the cap
    done = subprocess.run(["sbatch", "--parsable", "-p", "high", "-c", str(CPUS), "-o", "/dev/null", "--wrap",
                           "sleep 3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not queue("-j", done.stdout.strip(), "-o", "%i"), matrix.folder)  # it got the node at once

    wait_for(lambda: all(state.state == "finished" for state in status(matrix.folder)), matrix.folder)
    rows = collect(matrix.folder)
    assert list(dict.fromkeys(rows["run"])) == [run.name for run in settings.runs]
    assert any("REQUEUE" in path.read_text().upper() or "PREEMPT" in path.read_text().upper()
               for path in (matrix.folder / "jobs").rglob("*_log.err")), "nobody was preempted"
