"""The training explorer: any state of a log, also one that is being written."""

import time

import numpy as np
import pytest

from dmaf_lite.spec import BRATS
from dmaf_lite.training.runlog import RunLog
from dmaf_lite.widgets import TrainingExplorer, training_explorer
from dmaf_lite.widgets.training_explorer import whole_rows


def row(step):
    """A row as the training writes it; T2 is not there in every third step."""
    seen = {m: float(not (m == "T2" and step % 3 == 0)) for m in BRATS.modalities}
    line = {"step": step, "lr": 0.1, "total": 5 / (step + 1), "seg": 2 / (step + 1), "deep": 1.0,
            "unimodal": 1.5, **{f"unimodal/{m}": 0.4 * seen[m] for m in BRATS.modalities},
            "cov": 0.1 * (step % 2)}
    for i, state in enumerate(("gap", "relative_gap", "beta", "gamma")):
        line |= {f"{state}/{m}": 1.0 + 0.1 * i * j + 0.001 * step for j, m in enumerate(BRATS.modalities)}
    return line


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "my-run"
    folder.mkdir()
    log = RunLog(folder / "log.csv", 0)
    for step in range(9, 60, 10):
        log.add(row(step))
    return folder, log


def test_the_log_is_shown_and_read(run):
    explorer = TrainingExplorer(run[0])
    assert len(explorer.rows) == 6 and explorer.modalities == list(BRATS.modalities)
    assert "6 logged rows, up to step 59" in explorer.status.value
    assert explorer.picture.index == explorer.picture.last == 5, "it opens at the end"
    assert "step 59" in explorer.readout.value and f"{1 + 0.2 + 0.059:.3f}" in explorer.readout.value


def test_keys_move_the_line_through_the_steps(run):
    explorer = TrainingExplorer(run[0])
    picture, end = explorer.picture.png, explorer.picture.lines
    explorer.picture.index = 2
    assert "step 29" in explorer.readout.value and explorer.picture.png == picture, "the curves are not drawn again"
    lines = explorer.picture.lines
    assert len(lines) == 4 and all(now[0] < before[0] for now, before in zip(lines, end, strict=True))


def test_a_click_goes_to_the_nearest_step(run):
    explorer = TrainingExplorer(run[0])
    explorer.picture.index = 1
    x, top, bottom = explorer.picture.lines[2]
    explorer.picture.index = 5
    explorer.picture.clicked = [x + 0.002, (top + bottom) / 2, 1]
    assert explorer.picture.index == 1
    explorer.picture.clicked = [0.0, 0.0, 2]
    assert explorer.picture.index == 1, "beside the panels nothing happens"


def test_a_torn_last_line_is_left_out(run):
    folder, _ = run
    whole = (folder / "log.csv").read_text()
    for torn in ("69,0.1,0.0", "69,0.1,0.0\n", ",".join(["69"] * whole.splitlines()[0].count(","))):
        (folder / "log.csv").write_text(whole + torn)
        assert whole_rows(folder / "log.csv")["step"].tolist() == [9, 19, 29, 39, 49, 59], repr(torn)
    (folder / "log.csv").write_text(whole[:-3])  # cut within a number: the line has no end yet
    assert whole_rows(folder / "log.csv")["step"].tolist() == [9, 19, 29, 39, 49]


def test_read_again_follows_the_log_but_not_the_reader(run):
    folder, log = run
    explorer = TrainingExplorer(folder)
    assert not explorer.read(), "nothing new"
    picture = explorer.picture.png
    log.add(row(69))
    explorer.again.click()
    assert len(explorer.rows) == 7 and explorer.picture.png != picture and explorer.picture.index == 6
    explorer.picture.index = 2
    log.add(row(79))
    explorer.again.click()
    assert explorer.picture.index == 2 and explorer.picture.last == 7, "who looks at an earlier step stays there"


def test_live_reads_by_itself_until_it_is_switched_off(run, monkeypatch):
    folder, log = run
    monkeypatch.setattr(training_explorer, "PATIENCE", 0.05)
    monkeypatch.delenv("DMAF_HEADLESS", raising=False)
    explorer = TrainingExplorer(folder, live=True)
    log.add(row(69))
    end = time.monotonic() + 10
    while len(explorer.rows) < 7 and time.monotonic() < end:
        time.sleep(0.02)
    assert len(explorer.rows) == 7
    explorer.live.value = False
    assert explorer._stop.is_set()
    monkeypatch.setenv("DMAF_HEADLESS", "1")
    assert not TrainingExplorer(folder, live=True).live.value, "a notebook that is run without a reader has no timer"


def test_a_run_that_has_not_begun_is_waited_for(tmp_path):
    explorer = TrainingExplorer(tmp_path / "later")
    assert "has no log.csv" in explorer.status.value and "nothing has been logged yet" in explorer.describe()
    data, _ = explorer._repr_mimebundle_()
    assert "image/png" not in data, "no picture of nothing"
    (tmp_path / "later").mkdir()
    RunLog(tmp_path / "later" / "log.csv", 0).add(row(9))
    assert explorer.read() and "up to step 9" in explorer.status.value


def test_a_file_that_is_no_log_is_named(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"log\.csv: found no column `step`"):
        whole_rows(tmp_path / "log.csv")
    assert "found no column" in TrainingExplorer(tmp_path).status.value


def test_smoothing_and_scale_change_the_picture(run):
    explorer = TrainingExplorer(run[0])
    seen = [explorer.picture.png]
    explorer.smooth.value = 5
    seen.append(explorer.picture.png)
    explorer.scale.value = "linear"
    seen.append(explorer.picture.png)
    assert len(set(seen)) == 3


def test_what_was_not_measured_is_a_gap_and_no_zero(run):
    explorer = TrainingExplorer(run[0])
    explorer.rows["cov"] = [0, 0.1, 0, 0.1, 0.1, 0.1]
    line = next(line for line in explorer.figure().axes[0].lines if line.get_label() == "cov")
    assert np.isnan(line.get_ydata()[[0, 2]]).all() and (line.get_ydata()[[1, 3]] > 0).all()


def test_a_plain_run_has_one_panel(run):
    folder, _ = run
    frame = whole_rows(folder / "log.csv")
    frame[[c for c in frame if "gap" not in c and "beta" not in c and "gamma" not in c]].to_csv(folder / "log.csv",
                                                                                             index=False)
    explorer = TrainingExplorer(folder)
    assert len(explorer.figure().axes) == 1 and "<table>" not in explorer.readout.value
    assert "dmaf-training" in explorer._dom_classes


def test_a_picture_for_pages_without_a_kernel(run):
    data, metadata = TrainingExplorer(run[0])._repr_mimebundle_()
    assert "image/png" in data and "my-run, 6 logged rows; at step 59: total 0.0833" in metadata["image/png"]["alt"]
