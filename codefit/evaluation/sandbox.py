"""The process in which one program of a model runs. It is started by execution.py, as a script, and imports no codefit.

It reads a Job as JSON from its standard input, gives up what a program does not need, runs it, and writes the job's
token to its standard output if the program came to its end without an error. What of the walls below the kernel does
not permit is left out; `python -I -S sandbox.py` with the job {"probe": true, "parent": PID} says which ones it
permits.
"""

import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys

NEW_USER, NEW_NET, NEW_PID, NEW_IPC = 0x10000000, 0x40000000, 0x20000000, 0x08000000  # linux/sched.h
DEATH_SIGNAL, NO_NEW_PRIVILEGES = 1, 38  # linux/prctl.h
CREATE_RULES, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls of Landlock, the same on every architecture
EVERY_ACCESS = (1 << 13) - 1  # of files and folders, in the first version of Landlock
READ = 1 << 2 | 1 << 3  # read a file, list a folder
BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
LIBRARIES = ("/usr", "/lib", "/lib64", "/dev/null", "/dev/urandom")

# What Python itself does not do for a program: a second wall, and the only one where the kernel permits no other.
REFUSED = ("socket.", "subprocess.", "ctypes.", "os.fork", "os.exec", "os.posix_spawn", "os.system", "os.kill", "pty.")

libc = ctypes.CDLL(None, use_errno=True)


def leave_namespaces() -> bool:
    """Leave the machine's network, processes and shared memory; return whether the kernel permits it."""
    apart = NEW_NET | NEW_PID | NEW_IPC
    # the second is for root in a container
    return bool(libc.unshare(NEW_USER | apart) == 0 or libc.unshare(apart) == 0)


def shut_files(folder: str) -> bool:
    """Permit only writing in a folder and reading Python's own files; return whether the kernel has Landlock."""
    rules = libc.syscall(CREATE_RULES, struct.pack("Q", EVERY_ACCESS), ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    for path, access in [(folder, EVERY_ACCESS), *((path, READ) for path in (sys.base_prefix, *LIBRARIES))]:
        if os.path.exists(path):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights = access if os.path.isdir(path) else access & 1 << 2
            libc.syscall(ADD_RULE, rules, BENEATH, struct.pack("=Qi", rights, place), 0)
            os.close(place)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    shut = libc.syscall(RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return bool(shut)


def limit(cpu_seconds: int, memory_bytes: int, file_bytes: int) -> None:
    """Set what the kernel kills or refuses: processor time, memory, size and number of files, processes, core dumps."""
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))


def refuse(event: str, _: object) -> None:
    """Refuse what a program does not need; an audit hook cannot be removed."""
    if event.startswith(REFUSED):
        raise PermissionError(f"{event} is not permitted here")


def run(job: dict[str, object]) -> None:
    """Run the program of a job; exit silently if it fails."""
    answer = os.dup(1)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    shut_files(os.getcwd())
    limit(int(str(job["cpu_seconds"])), int(str(job["memory_bytes"])), int(str(job["file_bytes"])))
    sys.addaudithook(refuse)
    program = compile(str(job["program"]), "program", "exec")
    try:
        exec(program, {"__name__": "__main__"})
    except BaseException:  # sys.exit before the last test is no success
        os._exit(1)
    os.write(answer, str(job["token"]).encode())
    os._exit(0)


def main() -> None:
    """Enter the namespaces and run in them; when their first process ends, all others end."""
    job = json.load(sys.stdin)
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != job["parent"]:  # it died before the signal was asked for
        os._exit(1)
    apart = leave_namespaces()
    end, held = os.pipe()  # only the parent keeps the other end open, so that it closes when the parent dies
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) != 0)
    os.close(held)
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if select.select([end], [], [], 0)[0]:
        os._exit(1)
    os.close(end)
    if job.get("probe"):
        sys.stdout.write(json.dumps({"namespaces": apart, "landlock": shut_files(os.getcwd())}))
        return
    try:
        run(job)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
