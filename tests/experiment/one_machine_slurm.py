"""A Slurm of one machine for tests: both daemons, a low and a high partition, preemption by requeue.  Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CPUS = 2  # the machine may have fewer; Slurm is told to believe it

MARK = "# written by a test, and removed by it"
TARGET = Path("/etc/slurm/slurm.conf")
DAEMONS = ("slurmd", "slurmctld")

CONFIGURATION = MARK + """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES MaxTime=01:00:00 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=high Nodes=ALL MaxTime=01:00:00 State=UP PriorityTier=10 PreemptMode=OFF
"""


class CannotStart(Exception):
    """There is a Slurm, and it does not come up on this machine."""


def why_not() -> str | None:
    """Why no Slurm can be started here, or None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root can start a Slurm"
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch", "setpriv") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)"
    if not Path("/etc/munge/munge.key").is_file():
        return "munge has no key"
    running = sorted(pids(*DAEMONS))
    return f"a Slurm runs here already (processes {', '.join(map(str, running))})" if running else None


def pids(*names: str) -> set[int]:
    """Processes of this machine by the name of their program."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() in names and (folder / "cmdline").read_bytes():  # no zombie
                found.add(int(folder.name))
        except OSError:  # it has just ended
            continue
    return found


def waited(what: Callable[[], bool], seconds: float) -> bool:
    """Whether something became true in time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def said(*words: str) -> str:
    """What a command prints, empty if it fails."""
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


@contextmanager
def running_slurm(folder: Path) -> Iterator[None]:
    """Start the daemons, wait for the node, and stop them in the end.  What stood in slurm.conf is put back.

    Raises:
        CannotStart: With the reason, if the node is not there within a minute or two.
    """
    for name in ("state", "spool", "log"):
        (folder / name).mkdir(parents=True)
    before = TARGET.read_bytes() if TARGET.is_file() else None
    if before is not None and before.startswith(MARK.encode()):  # of a test that was killed
        before = None
    others = pids("slurmstepd")
    munge = None
    try:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(CONFIGURATION.format(host=socket.gethostname(), folder=folder, cpus=CPUS))
        munge = _start_munge()
        _start(folder)
        yield
    finally:
        _stop(folder, others)
        if munge:
            munge.terminate()
            munge.wait()
        TARGET.unlink() if before is None else TARGET.write_bytes(before)


def _munge_answers() -> bool:
    return not subprocess.run("munge -n | unmunge", shell=True, capture_output=True).returncode


def _start_munge() -> subprocess.Popen[bytes] | None:
    """Munge's daemon, or None if one runs already."""
    if _munge_answers():
        return None
    Path("/run/munge").mkdir(exist_ok=True)
    try:
        shutil.chown("/run/munge", "munge", "munge")
    except LookupError:
        raise CannotStart("there is no user munge") from None
    os.chmod("/run/munge", 0o755)
    daemon = subprocess.Popen(["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged",
                               "--foreground"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not waited(_munge_answers, 20):
        daemon.kill()
        daemon.wait()
        raise CannotStart("munged does not answer")
    return daemon


def _start(folder: Path) -> None:
    for words in (["slurmctld", "-c"], ["slurmd"]):
        # Not captured: a daemon would keep the pipe open.
        if subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            raise CannotStart(f"{words[0]} ends at once: {_log(folder, words[0])}")
        if not waited((folder / f"{words[0]}.pid").is_file, 20):
            raise CannotStart(f"{words[0]} does not come up: {_log(folder, words[0])}")
    if not waited(lambda: said("sinfo", "-h", "-p", "low", "-o", "%T") == "idle", 90):
        raise CannotStart(f"the node does not come up: {_log(folder, 'slurmctld')}")


def _log(folder: Path, name: str) -> str:
    path = folder / "log" / f"{name}.log"
    return " | ".join(path.read_text().splitlines()[-3:]) if path.is_file() else "no log"


def _stop(folder: Path, others: set[int]) -> None:
    """End the jobs first: what watches over a job would wait for the daemons for ever."""
    if pids("slurmctld"):
        subprocess.run(["scancel", "--user", "root"], capture_output=True, timeout=60)
        waited(lambda: not said("squeue", "-h"), 30)
    for name in DAEMONS:
        path = folder / f"{name}.pid"
        if path.is_file():
            _end(int(path.read_text()))
    for left in pids("slurmstepd") - others:
        _end(left)


def _end(pid: int) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, kind)
        except ProcessLookupError:
            return
        if waited(lambda: not Path(f"/proc/{pid}").exists(), 10):
            return
