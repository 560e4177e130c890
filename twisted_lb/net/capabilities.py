"""Linux capabilities of this thread: which there are, which it has, and how to give up all but a few.

Source: capabilities(7), capget(2), prctl(2), ``include/uapi/linux/capability.h``.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Iterable
from enum import IntEnum

from twisted_lb.errors import ConfigError


class Capability(IntEnum):
    """A capability under its number; ``str()`` gives the name as the manual pages write it."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    LINUX_IMMUTABLE = 9
    NET_BIND_SERVICE = 10
    NET_BROADCAST = 11
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_LOCK = 14
    IPC_OWNER = 15
    SYS_MODULE = 16
    SYS_RAWIO = 17
    SYS_CHROOT = 18
    SYS_PTRACE = 19
    SYS_PACCT = 20
    SYS_ADMIN = 21
    SYS_BOOT = 22
    SYS_NICE = 23
    SYS_RESOURCE = 24
    SYS_TIME = 25
    SYS_TTY_CONFIG = 26
    MKNOD = 27
    LEASE = 28
    AUDIT_WRITE = 29
    AUDIT_CONTROL = 30
    SETFCAP = 31
    MAC_OVERRIDE = 32
    MAC_ADMIN = 33
    SYSLOG = 34
    WAKE_ALARM = 35
    BLOCK_SUSPEND = 36
    AUDIT_READ = 37
    PERFMON = 38
    BPF = 39
    CHECKPOINT_RESTORE = 40

    def __str__(self) -> str:
        return f"CAP_{self.name}"


Capabilities = frozenset[Capability]

_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def effective() -> Capabilities:
    """Return what this thread may do now. Raises: ConfigError where there are no capabilities."""
    return _sets()[0]


def permitted() -> Capabilities:
    """Return what this thread may make effective. Raises: ConfigError where there are no capabilities."""
    return _sets()[1]


def bounding() -> Capabilities:
    """Return what programs that this thread executes can get at most."""
    return frozenset(one for one in Capability if _libc().prctl(_PR_CAPBSET_READ, int(one), 0, 0, 0) == 1)


def keep_across_setuid(keep: bool) -> None:
    """Let the permitted set survive the change from root to another user, or not. Raises: OSError."""
    _call("prctl", _PR_SET_KEEPCAPS, int(keep), 0, 0, 0)


def make_effective(wanted: Iterable[Capability]) -> None:
    """Make these effective and no others; what is permitted stays. Raises: OSError if one is not permitted."""
    _, allowed, inheritable = _sets()
    _set(frozenset(wanted), allowed, inheritable)


def reduce_to(kept: Iterable[Capability]) -> None:
    """Give up all but these for good; programs that are executed from here on get none at all, not even as root.

    The bounding set stays where CAP_SETPCAP is not permitted. Raises: OSError if one of ``kept`` is not permitted.
    """
    allowed = permitted()
    if Capability.SETPCAP in allowed:
        make_effective([Capability.SETPCAP])
        for one in bounding():
            _call("prctl", _PR_CAPBSET_DROP, int(one), 0, 0, 0)
    # The kernel takes out of the ambient set what leaves the inheritable one.
    _set(frozenset(kept), frozenset(kept), frozenset())


@functools.cache
def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise ConfigError(f"capabilities exist on Linux only, and this is {sys.platform}")
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc(), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _sets() -> tuple[Capabilities, Capabilities, Capabilities]:
    data = (_Data * 2)()
    _call("capget", ctypes.byref(_Header(_VERSION_3, 0)), data)
    low, high = data
    return (
        _of_mask(low.effective | high.effective << 32),
        _of_mask(low.permitted | high.permitted << 32),
        _of_mask(low.inheritable | high.inheritable << 32),
    )


def _set(effective: Capabilities, permitted: Capabilities, inheritable: Capabilities) -> None:
    masks = [sum(1 << one for one in each) for each in (effective, permitted, inheritable)]
    low = _Data(*(mask & 0xFFFFFFFF for mask in masks))
    high = _Data(*(mask >> 32 for mask in masks))
    _call("capset", ctypes.byref(_Header(_VERSION_3, 0)), (_Data * 2)(low, high))


def _of_mask(mask: int) -> Capabilities:
    return frozenset(one for one in Capability if mask >> one & 1)
