"""The door of the commands: one sentence and a status for a user's slip, a traceback for a fault of the kit."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dmaf_lite.__main__ import COMMANDS, main
from dmaf_lite.base.door import leave


def failing(error):
    def work():
        raise error
    return work


@pytest.mark.parametrize("error, words", [
    (ValueError("crop is 7; expected a multiple of 8"), "crop is 7; expected a multiple of 8"),
    (FileNotFoundError(2, "No such file or directory", "a.txt"), "a.txt: no such file or directory; check the name"),
    (PermissionError(13, "Permission denied", "b.txt"), "b.txt: permission denied; check the name"),
    (FloatingPointError("the loss is nan"), "the loss is nan"),
    (MemoryError(), "choose a smaller crop"),
])
def test_a_users_error_is_one_sentence_and_the_status_2(error, words, capsys):
    assert leave("train", failing(error)) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("train: ") and words in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("error", [TypeError("bug"), KeyError("bug"), NotImplementedError("bug")])
def test_a_fault_of_the_kit_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        leave("train", failing(error))


def test_the_traceback_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("DMAF_TRACEBACK", "1")
    with pytest.raises(ValueError):
        leave("train", failing(ValueError("x")))


def test_what_a_command_returns_is_its_status():
    assert [leave("x", lambda status=status: status) for status in (0, 1)] == [0, 1]


@pytest.mark.parametrize("words", [
    ["evaluate", "--weights", "no.safetensors", "--cohort", ".", "--out", "o"],
    ["predict", "--weights", "no.safetensors", "--out", "o", "case"],
    ["train", "--cohort", "nowhere", "--out", "o"],
    ["experiment", "no.yaml", "--out", "o"],
    ["lessons", "run", "--profile", "unheard-of"],
    ["lessons", "check", "77"],
    ["explore", "77"],
], ids=lambda words: words[0])
def test_every_command_leaves_through_the_door(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words[0] in COMMANDS and main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{words[0]}: ") and "Traceback" not in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing was begun


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child there")
def test_ctrl_c_is_a_word_and_130(tmp_path):
    # What a shell starts in the background ignores Ctrl-C, and so do its children: here it counts in any case.
    code = ("import signal, time; from dmaf_lite.base.door import leave\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "def work():\n    print('at work', flush=True); time.sleep(60)\n"
            "raise SystemExit(leave('train', work))")
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "at work\n"
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130 and said.startswith("train: stopped;") and "Traceback" not in said
