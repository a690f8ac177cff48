"""A Slurm of one machine for tests: both daemons, a low and a high partition, preemption by requeue.  Needs root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CPUS = 8  # more than the machine may have; Slurm is told to believe it

CONFIGURATION = """
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


def why_not() -> str | None:
    """Why no Slurm can be started here, or None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root can start a Slurm"
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)"
    if not Path("/etc/munge/munge.key").is_file():
        return "munge has no key"
    return None


@contextmanager
def running_slurm(folder: Path) -> Iterator[None]:
    """Start the daemons, wait for the node, and stop them in the end.  What stood in slurm.conf is put back."""
    for name in ("state", "spool", "log"):
        (folder / name).mkdir(parents=True)
    target = Path("/etc/slurm/slurm.conf")
    before = target.read_bytes() if target.is_file() else None
    target.parent.mkdir(exist_ok=True)
    target.write_text(CONFIGURATION.format(host=socket.gethostname(), folder=folder, cpus=CPUS))
    munge = None
    try:
        if subprocess.run("munge -n | unmunge", shell=True, capture_output=True).returncode:
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            os.chmod("/run/munge", 0o755)
            munge = subprocess.Popen(["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups",
                                      shutil.which("munged"), "--foreground"])
        subprocess.run(["slurmctld", "-c"], check=True)
        time.sleep(2)
        subprocess.run(["slurmd"], check=True)
        for _ in range(120):
            state = subprocess.run(["sinfo", "-h", "-p", "low", "-o", "%T"], capture_output=True, text=True).stdout
            if state.strip() == "idle":
                break
            time.sleep(1)
        else:
            raise RuntimeError((folder / "log" / "slurmctld.log").read_text()[-3000:])
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        for name in ("slurmd", "slurmctld"):
            pid = folder / f"{name}.pid"
            if pid.is_file():
                os.kill(int(pid.read_text()), 15)
        if munge:
            munge.terminate()
            munge.wait()
        target.write_bytes(before) if before is not None else target.unlink()
