"""The application without a browser: what is offered, who gets in, and what happens when the computing process dies."""

from __future__ import annotations

import http.client
import json
import os
import re
import struct
import threading
from argparse import ArgumentParser

import nibabel as nib
import numpy as np
import pytest
from tiny import REPOSITORY, write_tiny_msd
from widget_cases import small_study

from dmaf_lite.lessons import application
from dmaf_lite.lessons.application import SETTINGS, add_arguments, main
from dmaf_lite.lessons.application.answering import Answering
from dmaf_lite.lessons.application.engine import Engine, EngineStopped
from dmaf_lite.lessons.application.library import PHANTOM, SHIPPED, Library
from dmaf_lite.lessons.application.server import Application
from dmaf_lite.phantom.heart.heart_cohort import write_heart
from dmaf_lite.phantom.heart.hearts import HeartSettings
from dmaf_lite.widgets.scene import unpack
from dmaf_lite.widgets.standalone import page_data, renew_page, standalone


def arguments(*words):
    parser = ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(list(words))


class Echo:
    """In place of the computing process: remembers what it is asked."""

    progress = ("reading …", 0.5)

    def __init__(self):
        self.asked, self.stopped, self.error = [], 0, None

    def start(self):
        pass

    def stop(self):
        self.stopped += 1

    def ask(self, kind, **fields):
        self.asked.append((kind, fields))
        if self.error:
            raise self.error
        return kind.encode()


@pytest.fixture
def served(tiny_folder):
    engine = Echo()
    library = Library([tiny_folder / "BraTS20_Training_004"], "brats2020")
    with Application(library, engine) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server, engine
        server.shutdown()
    library.close()


def ask(server, path, body=None, *, token=True, host=None, ours=True):
    """Status, headers and body of one request."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Host": host or f"127.0.0.1:{port}"}
    if token:
        headers["Cookie"] = f"dmaf-explore-{port}={server.token}"
    if ours:
        headers["X-Explore"] = "1"
    connection.request("GET" if body is None else "POST", path, body=body, headers=headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_nobody_gets_in_without_the_token(served):
    server, engine = served
    assert server.server_address[0] == "127.0.0.1" and len(server.token) >= 40
    for path in ("/", "/sources", "/progress", "/shipped"):
        status, _, body = ask(server, path, token=False)
        assert status == 403 and b"token" in body, path
    for path in ("/open", "/upload", "/cancel", "/save"):
        assert ask(server, path, "{}", token=False)[0] == 403, path
        assert ask(server, path, "{}", ours=False)[0] == 403, "a form on another page cannot set the header"
        assert ask(server, path, "{}", host="elsewhere.example")[0] == 403, "a name that leads here is not enough"
    assert engine.asked == [] and engine.stopped == 0
    assert ask(server, "/?token=wrong", token=False)[0] == 403
    status, headers, _ = ask(server, f"/?token={server.token}", token=False)
    assert status == 303 and "HttpOnly" in headers["Set-Cookie"] and "SameSite=Strict" in headers["Set-Cookie"]


def test_the_page_runs_its_own_code_only_and_asks_nobody(served):
    status, headers, body = ask(served[0], "/")
    text = body.decode()
    nonce = re.search("script-src 'nonce-([0-9a-f]+)'", headers["Content-Security-Policy"])[1]
    assert status == 200 and text.count(f'nonce="{nonce}"') == 2
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "openApplication();" in text and not re.search(r"https?://(?!www\.w3\.org)", text)
    assert ask(served[0], "/")[1]["Content-Security-Policy"] != headers["Content-Security-Policy"], "another nonce"


def test_what_is_offered_and_what_is_asked(served):
    server, engine = served
    listing = json.loads(ask(server, "/sources")[2])
    assert listing[0]["title"] == "BraTS20_Training_004" and {e["kind"] for e in listing} == {"study", "shipped"}
    assert all(set(e) == {"name", "title", "kind", "words"} for e in listing), "names, and no paths"
    assert ask(server, "/open", json.dumps({"name": "s0"}))[2] == b"open"
    assert engine.asked[0][1]["source"]["images"].keys() == {"FLAIR", "T1ce"}
    assert ask(server, "/answers", json.dumps({"name": "s0", "keys": ["1100", "../x"]}))[2] == b"answers"
    assert engine.asked[1][1]["keys"] == ["1100"]
    assert ask(server, "/open", json.dumps({"name": "/etc"}))[0] == 400
    assert ask(server, "/nothing", "{}")[0] == 404 and ask(server, "/nothing")[0] == 404
    assert json.loads(ask(server, "/progress")[2]) == {"words": "reading …", "share": 0.5}
    ask(server, "/cancel", "{}")
    assert engine.stopped == 1


def test_errors_are_sentences_and_say_whether_to_start_again(served):
    server, engine = served
    engine.error = ValueError("case: found no scan; expected one; check the names.")
    status, _, body = ask(server, "/open", json.dumps({"name": "s0"}))
    assert status == 422 and json.loads(body) == {"words": str(engine.error), "stopped": False}
    engine.error = EngineStopped("the computing process has ended")
    status, _, body = ask(server, "/open", json.dumps({"name": "s0"}))
    assert status == 503 and json.loads(body)["stopped"] is True


def test_a_study_is_dropped_file_by_file(served, tiny_folder):
    server, _ = served
    for file in sorted((tiny_folder / "BraTS20_Training_004").glob("*.nii*")):
        status, _, _ = ask(server, f"/upload?batch=b1&name=..%2F..%2F{file.name}", file.read_bytes())
        assert status == 200
    name = json.loads(ask(server, "/dropped", json.dumps({"batch": "b1"}))[2])["name"]
    source = server.library.entries[name].source
    assert source["images"].keys() == {"FLAIR", "T1ce"}
    assert all("explore-" in path for path in source["images"].values())
    assert ask(server, "/upload?batch=b1&name=notes.txt", b"x")[0] == 422
    status, _, body = ask(server, "/upload?batch=b2&name=thing.nii", b"x")
    assert status == 200
    status, _, body = ask(server, "/dropped", json.dumps({"batch": "b2"}))
    assert status == 422 and "found no modality" in json.loads(body)["words"]
    for i in range(4):
        assert ask(server, f"/upload?batch=b2&name=more{i}.nii", b"x")[0] == 200
    status, _, body = ask(server, "/upload?batch=b2&name=sixth.nii", b"x")
    assert status == 422 and "at most 5" in json.loads(body)["words"]


def test_what_was_dropped_is_gone_when_the_application_ends(tmp_path):
    library = Library([], "brats2020")
    place = library.place_for("b", "x_flair.nii", 10)
    place.write_bytes(b"x")
    library.close()
    assert not place.exists()


def test_cohorts_trainings_and_problems_are_listed(tiny_folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.csv").write_text("step\n1\n")
    (tmp_path / "empty").mkdir()
    library = Library([tiny_folder, tmp_path / "run", tmp_path / "empty"], "brats2020")
    kinds = [entry.kind for entry in library.entries.values()]
    library.close()
    assert kinds.count("training") == 1 and kinds.count("problem") >= 1 and kinds.count("study") >= 3
    assert any("found no modality" in e.words for e in library.entries.values() if e.kind == "problem")


@pytest.fixture(scope="module")
def engine():
    running = Engine()
    yield running
    running.stop()


def test_the_process_opens_answers_and_saves_and_can_die(engine, tmp_path):
    source = {**PHANTOM, "spacing": 6.0}
    header, volumes = unpack(engine.ask("open", source=source))
    assert header["answers"] and "scan/T2" in volumes and header["cohort"]["table"]
    body = engine.ask("answers", source=source, keys=["1111", "0100"])
    (length,) = struct.unpack_from("<I", body)
    first, _ = unpack(body[4 : 4 + length])
    assert first["key"] == "1111" and set(first["dice"]) == {"WT", "TC", "ET"}
    (tmp_path / "x.nii.gz").write_bytes(engine.ask("save", source=source, key="1111"))
    saved = nib.load(tmp_path / "x.nii.gz")
    assert set(np.unique(saved.dataobj)) <= {0, 1, 2, 4} and np.asarray(saved.dataobj).max() > 0
    with pytest.raises(ValueError, match="cannot be read"):
        engine.ask("open", source={"kind": "files", "name": "gone", "images": {"T1": str(tmp_path / "gone.nii")},
                                   "label": None, "channels": {}, "notes": [], "layout": "brats2020"})
    engine._process.kill()
    engine._process.join(10)
    again, _ = unpack(engine.ask("open", source=source))
    assert again["shape"] == header["shape"], "what it knew is made again"


def test_a_heart_is_answered_by_the_weights_for_hearts(tmp_path):
    write_heart(tmp_path, 0, 0, HeartSettings())
    entry = next(iter(Library([tmp_path]).entries.values()))
    assert entry.source["layout"] == "heart_phantom", "the names of the files tell"
    assert next(iter(Library([tmp_path], "myops2020").entries.values())).source["layout"] == "myops2020", "a word wins"
    answering = Answering(None, lambda words, share: None)
    header, _ = unpack(answering.open(entry.source))
    assert header["synthetic"] and header["modalities"] == ["C0", "LGE", "T2"]
    assert [opened.predict for opened in answering._opened.values()] == [None], "a picture waits for no predictor"
    (length,) = struct.unpack_from("<I", answers := answering.answers(entry.source, ["111"]))
    answer, _ = unpack(answers[4 : 4 + length])
    assert min(answer["dice"].values()) > 0.7


def test_a_cohort_that_describes_itself_is_read_and_saved_in_its_own_labels(tmp_path):
    cohort = write_tiny_msd(tmp_path / "Task01", {"BRATS_001": 1})
    (study, *_) = Library([cohort]).entries.values()
    assert study.source["layout"] == "msd"
    source = json.loads(json.dumps(study.source))  # as it goes to the process
    answering = Answering(None, lambda words, share: None)
    _, arrays = unpack(answering.open(source))
    assert set(np.unique(arrays["reference"])) <= {0, 1, 2, 3}
    inside = {value: (arrays["reference"] == label).sum() for value, label in {1: 2, 2: 1, 3: 3}.items()}
    stored = np.asarray(nib.load(cohort / "labelsTr" / "BRATS_001.nii.gz").dataobj)
    assert {value: (stored == value).sum() for value in (1, 2, 3)} == inside
    assert answering.save(source, "1111")[:2] == b"\x1f\x8b"


def test_stopping_fails_what_is_waited_for(engine):
    engine.start()
    failed = []
    def wait():
        try:
            engine.ask("open", source={**PHANTOM, "spacing": 1.0})
        except EngineStopped as error:
            failed.append(str(error))
    thread = threading.Thread(target=wait)
    thread.start()
    while not engine._waiting:
        thread.join(0.05)
    engine.stop()
    thread.join(20)
    assert failed and "start again" in failed[0]


def test_the_phantom_that_comes_with_the_kit_is_a_whole_page_of_today():
    text = SHIPPED.read_text(encoding="utf-8")
    assert SHIPPED.stat().st_size < 1_000_000
    data = page_data(SHIPPED)
    assert len(data["answers"]) == 15 and data["source"].items() >= PHANTOM.items()
    title = re.search("<title>(.*)</title>", text)[1]
    assert text == standalone(title, data), "the page's code has changed: python -m dmaf_lite explore --renew FILE"


def test_a_page_is_renewed_and_keeps_its_study(tmp_path):
    old = SHIPPED.read_text(encoding="utf-8").replace("function createExplorer(", "function anotherName(")
    (tmp_path / "old.html").write_text(old, encoding="utf-8")
    renew_page(tmp_path / "old.html")
    assert (tmp_path / "old.html").read_text(encoding="utf-8") == SHIPPED.read_text(encoding="utf-8")
    (tmp_path / "other.html").write_text("<p>nothing</p>")
    with pytest.raises(ValueError, match="found no study in it"):
        renew_page(tmp_path / "other.html")


def test_a_slip_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="found no such folder"):
        main(arguments(str(tmp_path / "gone")))
    with pytest.raises(ValueError, match="found no such file"):
        main(arguments("--weights", str(tmp_path / "gone.safetensors")))
    with pytest.raises(ValueError, match="one by one"):
        main(arguments(str(tmp_path), str(tmp_path), "--export", str(tmp_path / "a.html")))
    with pytest.raises(ValueError, match="the ending"):
        from dmaf_lite.widgets import export_page
        export_page(small_study(), (None, {}), tmp_path / "a.txt")


def test_jupyterlab_asks_for_no_news():
    settings = json.loads((SETTINGS / "overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"] == {"fetchNews": "false", "checkForUpdates": False}
    # Views that are scrolled out of sight stay alive.
    assert settings["@jupyterlab/notebook-extension:tracker"] == {"windowingMode": "none"}
    place = SETTINGS.relative_to(REPOSITORY).as_posix()
    assert f"--LabApp.app_settings_dir={place}" in (REPOSITORY / "Makefile").read_text(), "make lab"


def test_the_server_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, dmaf_lite.lessons.application.server, dmaf_lite.lessons.application.library as l; " \
           "print(sorted({'torch', 'matplotlib', 'monai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]" and application.__doc__


def test_ctrl_c_ends_it_without_a_complaint():
    import signal
    import subprocess
    import sys
    import urllib.request

    started = subprocess.Popen([sys.executable, "-m", "dmaf_lite", "explore", "--no-browser"], cwd=REPOSITORY,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        address = started.stdout.readline().split()[-1]
        assert "Ctrl-C ends it" in started.stdout.readline()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert opener.open(address, timeout=180).status == 200
        os.killpg(started.pid, signal.SIGINT)  # a terminal sends it to all processes of the command
        _, complaint = started.communicate(timeout=180)
    finally:
        started.kill()
    assert (started.returncode, complaint) == (0, "")
