"""A real SLURM on this machine: Debian's packages on loopback, without systemd, for the length of a test run.

One controller, an accounting database, two nodes of processors and one with GPUs. The GPUs are device
files that SLURM counts and hands out like real ones. Everything lies in one folder under ``/tmp``; what
stood at ``/etc/slurm/slurm.conf`` before is put back by :meth:`Slurm.stop`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "sbatch", "sacct")
PACKAGES = "slurm-wlm munge slurmdbd mariadb-server"
SYSTEM_CONFIG = Path("/etc/slurm/slurm.conf")
"""Snakemake's job steps drop ``SLURM_CONF``, so the configuration has to be where SLURM looks by itself."""

CPU_NODES = ("cpu1", "cpu2")
GPU_NODES = ("gpu1",)
NODES = CPU_NODES + GPU_NODES
_PORT = 16817
_BINARIES = "/usr/sbin:/usr/bin:/sbin:/bin"


def why_not() -> str | None:
    """What keeps SLURM from running here; None if nothing does."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_BINARIES) is None]
    if missing:
        return f"{', '.join(missing)} not installed; apt-get install --no-install-recommends {PACKAGES}"
    if os.geteuid() != 0:
        return "a SLURM of one's own has to be started by root"
    return None


@dataclass(frozen=True)
class Job:
    """One line of ``sacct``."""

    id: str
    rule: str
    state: str
    partition: str
    node: str
    allocated: dict[str, str]
    """Trackable resources by name, e.g. ``{"cpu": "1", "mem": "4000M", "gres/gpu": "1"}``."""


class Slurm:
    """The cluster. ``stop`` it: daemons do not end by themselves."""

    def __init__(self) -> None:
        # Not pytest's folder: the database runs as another user, who has to be able to enter.
        self.folder = Path(tempfile.mkdtemp(prefix="canopyflow-slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._saved: Path | None = None
        self._database: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start everything and wait until all nodes are idle."""
        for name in ("state", "log", "munge", "db"):
            (self.folder / name).mkdir(mode=0o755)
        self._write_configuration()
        self._link_configuration()
        self._start_munge()
        self._start_database()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait(lambda: all(self.node_state(node) == "IDLE" for node in NODES), 60, "idle nodes")

    def stop(self) -> None:
        """End all jobs and daemons, restore the system's configuration, remove the folder."""
        # Jobs first: a step's supervisor whose controller is gone would wait for it.
        with suppress(subprocess.SubprocessError):
            self.run("scancel", "--user=root", check=False)
            self.wait(lambda: not self.run("squeue", "-h", check=False), 20, "an empty queue")
        for pid in self._daemons():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with suppress(TimeoutError):
            self.wait(lambda: not self._daemons(), 20, "the end of all daemons")
        for pid in self._daemons():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if SYSTEM_CONFIG.is_symlink() and SYSTEM_CONFIG.readlink() == self.folder / "slurm.conf":
            SYSTEM_CONFIG.unlink()
        if self._saved is not None:
            self._saved.rename(SYSTEM_CONFIG)
        shutil.rmtree(self.folder)

    def _daemons(self) -> list[int]:
        """Processes that name this cluster's folder: in the command line, or as slurmdbd's configuration."""
        found = self.processes(f"SLURM_CONF={self.folder}/slurmdbd.conf")
        for proc in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.folder).encode() in (proc / "cmdline").read_bytes():
                    found.add(int(proc.name))
        if self._database is not None:
            self._database.poll()
        return sorted(found - {os.getpid()})

    # ------------------------------------------------------------- commands

    def run(self, *command: str, check: bool = True) -> str:
        """Standard output of a SLURM command."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    @staticmethod
    def wait(reached: Callable[[], object], seconds: float, what: str) -> None:
        """Until ``reached()`` is true; TimeoutError after ``seconds``."""
        until = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > until:
                raise TimeoutError(f"no {what} within {seconds:g} s")
            time.sleep(0.2)

    def node_state(self, node: str) -> str:
        return self.run("sinfo", "-h", "-n", node, "-o", "%T", check=False).split("\n")[0].upper().rstrip("*")

    def jobs(self, *options: str) -> list[Job]:
        """All jobs there have been, or those that ``options`` of ``sacct`` select, oldest first."""
        columns = "JobIDRaw,Comment%400,State,Partition,NodeList,AllocTRES%200"
        command = ["sacct", "-X", "-n", "-P", "-S", "now-1day", "-o", columns, *options]
        jobs = []
        for line in filter(None, self.run(*command).split("\n")):
            number, comment, state, partition, node, tres = line.split("|")
            rule = comment.removeprefix("rule_").partition("_wildcards_")[0]
            allocated = dict(part.split("=") for part in tres.split(",") if part)
            jobs.append(Job(number, rule, state.split()[0], partition, node, allocated))
        return sorted(jobs, key=lambda job: int(job.id))

    def running(self, rule: str) -> Job | None:
        """A running job of ``rule`` (a group's name holds the names of its rules), if there is one."""
        lines = self.run("squeue", "-h", "-t", "R", "-o", "%A|%k|%P|%N", check=False)
        for number, comment, partition, node in (line.split("|") for line in lines.split("\n") if line):
            if rule in comment:
                return Job(number, rule, "RUNNING", partition, node, {})
        return None

    # -------------------------------------------------------------- daemons

    def start_controller(self) -> None:
        self.run("/usr/sbin/slurmctld", "-f", str(self.folder / "slurm.conf"))
        self.wait(lambda: "UP" in self.run("scontrol", "ping", check=False), 30, "controller")

    def kill_controller(self) -> None:
        """As if its machine had lost power."""
        os.kill(int((self.folder / "slurmctld.pid").read_text()), signal.SIGKILL)

    def start_node(self, node: str) -> None:
        self.run("/usr/sbin/slurmd", "-f", str(self.folder / "slurm.conf"), "-N", node)

    def kill_node(self, node: str) -> None:
        """As if the machine had lost power: daemon, supervisors and all that its jobs started."""
        processes = self.processes(f"SLURMD_NODENAME={node}")
        os.kill(int((self.folder / f"slurmd.{node}.pid").read_text()), signal.SIGKILL)
        for pid in processes | self._supervisors(processes):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=power")

    def revive_node(self, node: str) -> None:
        self.start_node(node)
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        self.wait(lambda: self.node_state(node) in ("IDLE", "MIXED", "ALLOCATED"), 60, f"node {node}")

    @staticmethod
    def processes(*variables: str) -> set[int]:
        """Processes with all of these ``NAME=value`` in their environment."""
        wanted = {variable.encode() for variable in variables}
        found = set()
        for proc in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted <= set((proc / "environ").read_bytes().split(b"\0")):
                    found.add(int(proc.name))
        return found

    @staticmethod
    def _supervisors(processes: set[int]) -> set[int]:
        """The slurmstepd above each of ``processes``."""
        found = set()
        for pid in processes:
            with suppress(OSError, ValueError):
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                if Path(f"/proc/{parent}/comm").read_text().startswith("slurmstepd"):
                    found.add(parent)
        return found

    # -------------------------------------------------------- configuration

    def _link_configuration(self) -> None:
        SYSTEM_CONFIG.parent.mkdir(parents=True, exist_ok=True)
        if SYSTEM_CONFIG.is_symlink() and not SYSTEM_CONFIG.exists():
            SYSTEM_CONFIG.unlink()  # of a run that was killed
        if SYSTEM_CONFIG.exists():
            self._saved = SYSTEM_CONFIG.with_name("slurm.conf.before-canopyflow-tests")
            SYSTEM_CONFIG.rename(self._saved)
        SYSTEM_CONFIG.symlink_to(self.folder / "slurm.conf")

    def _write_configuration(self) -> None:
        host = socket.gethostname().split(".")[0]
        here = self.folder
        processors = "\n".join(self._node(node, host, i, "") for i, node in enumerate(CPU_NODES))
        graphics = "\n".join(
            self._node(node, host, i, "Gres=gpu:1") for i, node in enumerate(GPU_NODES, start=len(CPU_NODES))
        )
        (here / "slurm.conf").write_text(
            _CONFIGURATION.format(
                here=here,
                host=host,
                port=_PORT,
                database_port=_PORT + 1,
                processors=processors,
                graphics=graphics,
                cpu_nodes=",".join(CPU_NODES),
                gpu_nodes=",".join(GPU_NODES),
            )
        )
        # A GPU has to have a device file, or the node is refused.
        os.mknod(here / "gpu0", 0o600 | 0o020000, os.makedev(1, 3))
        (here / "gres.conf").write_text(
            "".join(f"NodeName={node} Name=gpu File={here}/gpu0\n" for node in GPU_NODES)
        )

    @staticmethod
    def _node(name: str, host: str, number: int, more: str) -> str:
        port = _PORT + 10 + number
        address = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
        return f"NodeName={name} {address} CPUs=2 RealMemory=64000 {more} State=UNKNOWN"

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        key = munge / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"key-file": key, "socket": munge / "socket", "pid-file": munge / "pid"}
        files |= {"log-file": munge / "log", "seed-file": munge / "seed"}
        self.run("/usr/sbin/munged", "--force", *(f"--{name}={path}" for name, path in files.items()))

    def _start_database(self) -> None:
        here = self.folder
        shutil.chown(here / "db", "mysql")
        data = f"--datadir={here}/db/data"
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", data, "--skip-test-db"]
        self.run(*install, "--auth-root-authentication-method=normal")
        options = ["--no-defaults", "--user=mysql", data, f"--socket={here}/db/socket"]
        options += [f"--pid-file={here}/db/pid", "--bind-address=127.0.0.1", f"--port={_PORT + 2}"]
        # The lock wait is what slurmdbd asks for; the small log makes the start quick.
        options += ["--innodb-lock-wait-timeout=900", "--innodb-log-file-size=16M"]
        with (here / "log/mariadbd.log").open("w") as log:
            self._database = subprocess.Popen(
                ["/usr/sbin/mariadbd", *options], stdout=log, stderr=log, start_new_session=True
            )
        client = ["mariadb", "--no-defaults", f"--socket={here}/db/socket", "-uroot", "-e"]
        self.wait(lambda: self.run(*client, "select 1", check=False), 60, "database")
        for user in ("'slurm'@'127.0.0.1'", "'slurm'@'localhost'"):
            self.run(*client, f"create user {user} identified by 'slurm'; grant all on *.* to {user}")
        settings = here / "slurmdbd.conf"
        settings.write_text(_DATABASE.format(here=here, port=_PORT + 1, storage_port=_PORT + 2))
        settings.chmod(0o600)
        subprocess.run(
            ["/usr/sbin/slurmdbd"], env=os.environ | {"SLURM_CONF": str(settings)}, check=True, timeout=60
        )
        self.wait(lambda: "Cluster" in self.run("sacctmgr", "list", "cluster", check=False), 60, "accounting")
        self.run("sacctmgr", "-i", "add", "cluster", "test", check=False)
        self.run("sacctmgr", "-i", "add", "account", "campaigns", "Description=x", "Organization=x")
        self.run("sacctmgr", "-i", "add", "user", "root", "Account=campaigns")


_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job may start when the credential of its first start has run out.
AuthInfo=socket={here}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool.%n
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.%n.pid
SlurmctldLogFile={here}/log/slurmctld.log
SlurmdLogFile={here}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_port}
AccountingStoragePass={here}/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
MpiDefault=none
ReturnToService=2
MinJobAge=600
KillWait=2
# More processors than this machine has.
SlurmdParameters=config_overrides
{processors}
{graphics}
PartitionName=cpu Nodes={cpu_nodes} Default=YES PriorityTier=1 MaxTime=INFINITE DefaultTime=10 State=UP
PartitionName=gpu Nodes={gpu_nodes} PriorityTier=1 MaxTime=INFINITE DefaultTime=10 State=UP
PartitionName=urgent Nodes={gpu_nodes} PriorityTier=10 MaxTime=INFINITE DefaultTime=10 State=UP
"""

_DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={here}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={here}/log/slurmdbd.log
PidFile={here}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""
