"""What a worker process may still reach: its folders, its store's ports, the libraries' data, and nothing else.

Here: saying it, and having the kernel hold it: files and TCP by Landlock, all other sockets and system calls by
`syscall_filter`. Not here: the processes (`workers.pool`, `enclosed_run`) and their environment (`clean_processes`).
"""

import ctypes
import os
import site
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog

from geo_assets.settings import PACKAGE_FOLDER
from geo_assets.workers.syscall_filter import Sockets, forbid_new_privileges, is_filter_possible, refuse_calls

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


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
