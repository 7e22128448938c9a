"""`compliance` in a process that can open no socket of any kind: the kernel refuses it (seccomp), as in a sealed room.

`python without_network.py ARGUMENTS`
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_SOCKET_SYSTEM_CALL = {"x86_64": 41, "aarch64": 198}
_LOAD_SYSTEM_CALL_NUMBER = (0x20, 0, 0, 0)
_ALLOW = (0x06, 0, 0, 0x7FFF0000)
_REFUSE = (0x06, 0, 0, 0x00050000 | errno.EPERM)


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def refuse_sockets() -> None:
    """For this process and its children, for good."""
    is_socket = (0x15, 0, 1, _SOCKET_SYSTEM_CALL[platform.machine()])
    instructions = [_Instruction(*each) for each in (_LOAD_SYSTEM_CALL_NUMBER, is_socket, _REFUSE, _ALLOW)]
    program = _Program(len(instructions), (_Instruction * len(instructions))(*instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")
    try:
        socket.socket(socket.AF_UNIX)
    except PermissionError:
        return
    raise AssertionError("a socket was opened")


if __name__ == "__main__":
    refuse_sockets()
    from compliance_pipelines.cli import main

    main()
