"""What a worker process may still reach: its folders, its store's ports, the libraries' data, and nothing else.

Here: saying it, and having the kernel hold it: files and TCP by Landlock, all other sockets and the system calls that
no reader needs by a seccomp filter, in plain ctypes (docs/decisions/0015-enclosed-workers.md says why); what that
filter refuses fails with EPERM. Not here: the processes (`workers.pool`) and their environment (`processes`).
"""

import ctypes
import os
import platform
import site
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog

from geo_assets.settings import PACKAGE_FOLDER

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
_LOAD, _AND, _EQUALS, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOWED, _FAILS_WITH = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; arguments are 8 bytes, low half first
_NO_NEW_PRIVILEGES, _SET_FILTER, _ACTION_AVAILABLE, _ALL_THREADS = 38, 1, 2, 1
_CLONE_THREAD, _FASTOPEN = 0x10000, 0x20000000
_TCP = (0, socket.IPPROTO_TCP)
_UDP = (0, socket.IPPROTO_UDP)

# Numbers of system calls on x86-64 and 64-bit ARM, from Linux' own headers; None where there is no such call.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    # Other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "process_madvise": (440, 440),
    # Programs and processes of its own
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    # Ways round this filter, and large, little tested parts of the kernel
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "personality": (135, 92),
    # What only an administrator may do: tests and containers run as root
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "open_by_handle_at": (304, 265), "acct": (163, 89), "quotactl": (179, 60), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None),
    "ioperm": (173, None), "syslog": (103, 116),
    # What changes a file by its path without opening it: Landlock does not look at these
    "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "lchown": (94, None),
    "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "removexattrat": (466, 466), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "truncate": (76, 45),
    # Servers
    "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    # Looked at more closely below
    "socket": (41, 198), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269), "clone": (56, 220),
    "clone3": (435, 435), "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "seccomp": (317, 277),
}  # fmt: skip
_LOOKED_AT = ("socket", "sendto", "sendmsg", "sendmmsg", "clone", "clone3", "kill", "tgkill", "prlimit64", "seccomp")
# Which column of the table is this machine's, and the kernel's name for it.
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets that a process may open: TCP at all, and UDP, which looking names up needs."""

    tcp: bool = False
    udp: bool = False


def is_filter_possible() -> bool:
    """Whether this kernel takes a filter on this kind of machine."""
    if (calls := _calls()) is None:
        return False
    action = ctypes.c_uint32(_FAILS_WITH)
    return bool(_libc().syscall(calls["seccomp"], _ACTION_AVAILABLE, 0, ctypes.byref(action)) == 0)


def forbid_new_privileges() -> None:
    """Let no program that this process starts have more rights than it has. Raises OSError."""
    _check(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def refuse_calls(sockets: Sockets) -> None:
    """Refuse from now on, in all threads of this process, what no reader needs. Raises OSError."""
    calls = _calls()
    assert calls is not None
    instructions = list(_instructions(sockets))
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    forbid_new_privileges()
    program = _Program(len(instructions), code)
    _check(_libc().syscall(calls["seccomp"], _SET_FILTER, _ALL_THREADS, ctypes.byref(program)))


def _instructions(sockets: Sockets) -> Iterator[_Instruction]:
    calls = _calls()
    assert calls is not None
    _, architecture = _MACHINES[platform.machine()]
    own = os.getpid()
    yield from [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUALS, 1, 0, architecture), _fails(_ENOSYS), (_LOAD, 0, 0, _NUMBER)]
    # The third set of calls of an x86-64 kernel, with the second one's architecture.
    yield from [(_AT_LEAST, 0, 1, 0x40000000), _fails(_ENOSYS)]
    for name, number in calls.items():
        if name not in _LOOKED_AT:
            yield from _at(number, [_fails(_EPERM)])
    yield from _at(calls["socket"], list(_socket_rules(sockets)))
    # TCP's fast open connects without `connect`, and so past Landlock.
    for name, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        yield from _at(calls[name], [_argument(flags), (_HAS_BITS, 0, 1, _FASTOPEN), _fails(_EPERM), _allow()])
    # Threads only. The flags of clone3 are out of a filter's sight; libc takes clone where there is no clone3.
    yield from _at(calls["clone"], [_argument(0), (_HAS_BITS, 1, 0, _CLONE_THREAD), _fails(_EPERM), _allow()])
    yield from _at(calls["clone3"], [_fails(_ENOSYS)])
    for name in ("kill", "tgkill"):
        yield from _at(calls[name], list(_one_of(0, (own,), [_allow()])))
    yield from _at(calls["prlimit64"], list(_one_of(0, (0, own), [_allow()])))
    yield _allow()


def _socket_rules(sockets: Sockets) -> Iterator[_Instruction]:
    """Of the internet's families only, of plain TCP and UDP only: no raw socket, and no local one."""
    kinds: list[_Instruction] = []
    for allowed, kind, protocols in ((sockets.tcp, 1, _TCP), (sockets.udp, 2, _UDP)):
        if allowed:
            rules = list(_one_of(2, protocols, [_allow()]))
            kinds += [_argument(1), (_AND, 0, 0, 0xF), (_EQUALS, 0, len(rules), kind), *rules]
    yield from _one_of(0, (socket.AF_INET, socket.AF_INET6), [*kinds, _fails(_EPERM)])


def _one_of(argument: int, values: Sequence[int], then: Sequence[_Instruction]) -> Iterator[_Instruction]:
    """``then`` where the argument is one of ``values``; the call fails where it is not."""
    yield _argument(argument)
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        yield (_EQUALS, left, 0, value)
    yield _fails(_EPERM)
    yield from then


def _at(number: int, then: Sequence[_Instruction]) -> Iterator[_Instruction]:
    """``then``, which returns whatever happens, where the call has this number."""
    yield (_EQUALS, 0, len(then), number)
    yield from then


def _argument(index: int) -> _Instruction:
    return _LOAD, 0, 0, _ARGUMENTS + 8 * index


def _fails(error: int) -> _Instruction:
    return _RETURN, 0, 0, _FAILS_WITH | error


def _allow() -> _Instruction:
    return _RETURN, 0, 0, _ALLOWED


def _calls() -> dict[str, int] | None:
    """The number of each call on this machine; None on a kind of machine that the table does not have."""
    if platform.system() != "Linux" or (machine := _MACHINES.get(platform.machine())) is None:
        return None
    return {name: number for name, numbers in _CALLS.items() if (number := numbers[machine[0]]) is not None}


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


log = structlog.get_logger("geo_assets.workers")

_DNS_PORT = 53
# Linux' numbers of Landlock's calls are the same on each kind of machine.
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_ONLY, _PATH_RULE, _PORT_RULE = 1, 1, 2
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _REMOVE, _MAKE_FOLDER, _MAKE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MOVE, _TRUNCATE, _DEVICE_CONTROL = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE_CONTROL
_READING = _READ | _LIST
_WRITING = _READING | _WRITE | _REMOVE_FOLDER | _REMOVE | _MAKE_FOLDER | _MAKE | _MOVE | _TRUNCATE
_BIND, _CONNECT = 1 << 0, 1 << 1
_FILES_ABI, _MOVE_ABI, _TRUNCATE_ABI, _PORTS_ABI, _DEVICES_ABI, _SCOPES_ABI = 1, 2, 3, 4, 5, 6
_ABSTRACT_SOCKETS_AND_SIGNALS = 3

_READABLE = (
    "/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/mime.types",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/sys/kernel/pid_max",
    "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup", "/dev/urandom", "/dev/random",
)  # fmt: skip
_READABLE_FOR_SOCKETS = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls",
    "/etc/pki/ca-trust", "/etc/ca-certificates", "/etc/crypto-policies",
)  # fmt: skip
_WRITABLE_DEVICES = ("/dev/null", "/dev/zero")
_VARIABLES_OF_LIBRARIES = ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA")
_VARIABLES_OF_SOCKETS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Enclosure:
    """What a process may reach beside the libraries' own data.

    ``ports`` are those of TCP that it may connect to; without one it has no socket at all. With ``names`` it looks
    hosts up, which takes UDP, and UDP is held to no port.
    """

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    ports: tuple[int, ...] = ()
    names: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """What this machine's kernel can hold: the version of Landlock, 0 without, and whether it filters calls."""

    landlock: int
    filters_calls: bool

    def cannot_hold(self, enclosure: Enclosure) -> list[str]:
        """What of ``enclosure`` is a mere intention here."""
        gaps = []
        if self.landlock < _FILES_ABI:
            gaps.append("files elsewhere can be read and written")
        if enclosure.ports and self.landlock < _PORTS_ABI:
            gaps.append("any TCP port can be connected to")
        if not self.filters_calls:
            gaps.append("sockets can be opened and programs started")
        return gaps


@cache
def this_kernel() -> Kernel:
    """What the kernel answers when asked."""
    if not sys.platform.startswith("linux"):
        return Kernel(0, False)
    return Kernel(max(0, _libc().syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_ONLY)), is_filter_possible())


def warn_of_gaps(enclosure: Enclosure, kernel: Kernel | None = None) -> None:
    """Say in the log what the kernel cannot hold of ``enclosure``, each sentence once in this process."""
    for gap in (kernel or this_kernel()).cannot_hold(enclosure):
        warn_once(gap)


@cache
def warn_once(gap: str) -> None:
    """Say one gap in the log, unless this process has said it."""
    log.warning(
        "workers_not_enclosed",
        gap=f"In worker processes {gap}: this kernel cannot refuse it.",
        remedy="Run on Linux 6.7 or newer with Landlock and seccomp allowed, or in a container of its own.",
    )


def enter(enclosure: Enclosure, kernel: Kernel | None = None) -> None:
    """Restrict this process, and all that it starts, to ``enclosure``: for good, root too.

    Raises RuntimeError where other threads run, which would stay outside, and OSError where the kernel refuses what
    it said it can do. What it cannot do at all is left out: `warn_of_gaps` says so in the process that starts this.
    """
    kernel = kernel or this_kernel()
    if kernel.landlock >= _FILES_ABI:
        if (threads := len(os.listdir("/proc/self/task"))) > 1:
            raise RuntimeError(f"{threads} threads run already: all but one would stay outside of the enclosure.")
        _restrict(enclosure, kernel.landlock)
    if kernel.filters_calls:
        refuse_calls(Sockets(tcp=bool(enclosure.ports), udp=enclosure.names))


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("ports", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


class _PortRule(ctypes.Structure):
    _fields_ = (("rights", ctypes.c_uint64), ("port", ctypes.c_uint64))


def _restrict(enclosure: Enclosure, version: int) -> None:
    held = _rights_of_files(version)
    ruleset = _Ruleset(
        files=held,
        ports=_BIND | _CONNECT if version >= _PORTS_ABI else 0,
        scopes=_ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPES_ABI else 0,
    )
    # Older kernels know a shorter structure; they take the longer one where the rest is zero.
    descriptor = _call(_CREATE, ctypes.byref(ruleset), ctypes.c_size_t(ctypes.sizeof(ruleset)), 0)
    try:
        for path in _readable_paths(enclosure):
            _allow_path(descriptor, path, _READING & held)
        for path in enclosure.writable:
            _allow_path(descriptor, path, _WRITING & held)
        for device in _WRITABLE_DEVICES:
            _allow_path(descriptor, Path(device), (_READ | _WRITE | _TRUNCATE) & held)
        if version >= _PORTS_ABI:
            for port in (*enclosure.ports, *([_DNS_PORT] if enclosure.names else [])):
                _call(_ADD_RULE, descriptor, _PORT_RULE, ctypes.byref(_PortRule(_CONNECT, port)), 0)
        forbid_new_privileges()
        _call(_RESTRICT, descriptor, 0)
    finally:
        os.close(descriptor)


def _rights_of_files(version: int) -> int:
    """Every right over files that this version of Landlock knows: what is not granted again is refused."""
    newest = _DEVICE_CONTROL
    if version < _MOVE_ABI:
        newest = _MOVE >> 1
    elif version < _TRUNCATE_ABI:
        newest = _MOVE
    elif version < _DEVICES_ABI:
        newest = _TRUNCATE
    return 2 * newest - 1


def _readable_paths(enclosure: Enclosure) -> Iterator[Path]:
    yield from enclosure.readable
    yield from (Path(sys.prefix), Path(sys.base_prefix), PACKAGE_FOLDER)
    yield from (Path(path) for path in [*site.getsitepackages(), site.getusersitepackages()])
    yield from map(Path, _READABLE)
    variables: tuple[str, ...] = _VARIABLES_OF_LIBRARIES
    if enclosure.ports or enclosure.names:
        variables += _VARIABLES_OF_SOCKETS
        for name in _READABLE_FOR_SOCKETS:
            yield Path(name)
            # What is replaced by a new file of the same name would not be covered: a resolver's folder is.
            if (target := Path(name).resolve()).is_relative_to("/run"):
                yield target.parent
    for variable in variables:
        yield from (Path(path) for path in os.environ.get(variable, "").split(os.pathsep) if os.path.isabs(path))


def _allow_path(ruleset: int, path: Path, rights: int) -> None:
    """Grant ``rights`` below ``path``; what is not there, or not to be opened, gets none."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
                rights &= _OF_FILES
            _call(_ADD_RULE, ruleset, _PATH_RULE, ctypes.byref(_PathRule(rights, descriptor)), 0)
        finally:
            os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result
