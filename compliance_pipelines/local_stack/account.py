"""The system account that a server runs under.

Here: how a process of root becomes one of an unprivileged account and still reaches its files. Not here: any server.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.local_stack.errors import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_UNPRIVILEGED: Final = "nobody"
# Bits of the kernel's capability sets, weakest first. Container runtimes commonly grant root only the second.
_READING_CAPABILITIES: Final = {"dac_read_search": 2, "dac_override": 1}
_CAP_SETPCAP: Final = 8


@dataclass(frozen=True)
class Account:
    """The account of a server's processes.

    Attributes:
        uid: user to become, or None to stay who we are.
        gid: group to become together with `uid`.
        capability: what the processes keep of root's rights because directories in their way are closed to them.
    """

    uid: int | None = None
    gid: int | None = None
    capability: str | None = None

    def command(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` under this account.

        Raises:
            EmbeddedServerError: a capability must be kept and `setpriv` is not installed.
        """
        if self.capability is None:
            return list(command)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, and the account {self.uid} cannot reach its files: install setpriv "
                "(util-linux), run as an ordinary user, or move the checkout to a directory that others may enter"
            )
        only = f"-all,+{self.capability}"
        return [
            setpriv,
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--clear-groups",
            f"--inh-caps={only}",
            f"--ambient-caps={only}",
            f"--bounding-set={only}",
            # Without it access(2), by which PostgreSQL looks for its own binaries, leaves capabilities out of account.
            "--securebits=+no_setuid_fixup",
            "--no-new-privs",
            "--",
            *command,
        ]

    def process_options(self) -> dict[str, Any]:
        """Keyword arguments for :class:`subprocess.Popen` that go with :meth:`command`."""
        if self.uid is None or self.capability is not None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or directory, which must be ours, to the account.

        Raises:
            EmbeddedServerError: we may not, as in a container that knows only one user.
        """
        if self.uid is None or self.gid is None:
            return
        try:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        except OSError as error:
            raise EmbeddedServerError(
                f"{path} cannot be given to the account {self.uid}, as which PostgreSQL would run instead of root "
                f"({error.strerror}): run as an ordinary user"
            ) from None

    def owns(self, path: Path) -> bool:
        """Whether a file or directory belongs to the account."""
        return path.lstat().st_uid == (os.geteuid() if self.uid is None else self.uid)


def account_for(data_dir: Path, programs: Iterable[Path]) -> Account:
    """The account for a server that refuses root: our own, or for root the owner of the data, else `nobody`.

    Args:
        data_dir: directory that the account owns or will own.
        programs: files and directories that the account must be able to read.

    Raises:
        EmbeddedServerError: the data belongs to somebody else, or root has no account or right that would do.
    """
    owner = data_dir.stat() if data_dir.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise EmbeddedServerError(
                f"{data_dir} belongs to the account {owner.st_uid}, perhaps because root started the server before: "
                "go on as root, or remove the directory, or name another state directory"
            )
        return Account()
    if owner is not None and owner.st_uid != 0:
        uid, gid = owner.st_uid, owner.st_gid
    else:
        try:
            entry = pwd.getpwnam(_UNPRIVILEGED)
        except KeyError:
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, and there is no account {_UNPRIVILEGED!r}: run as an ordinary user"
            ) from None
        uid, gid = entry.pw_uid, entry.pw_gid
    if all(_open_to_others(path) for path in (data_dir.parent, *programs)):
        return Account(uid, gid)
    return Account(uid, gid, _capability_at_hand(uid))


def _open_to_others(path: Path) -> bool:
    resolved = path.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (resolved, *resolved.parents))


def _capability_at_hand(uid: int) -> str:
    held = _effective_capabilities()
    for name, bit in _READING_CAPABILITIES.items():
        if held >> bit & 1 and held >> _CAP_SETPCAP & 1:
            return name
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root, the account {uid} cannot reach its files, and this process lacks the "
        "capabilities to help it (CAP_SETPCAP with CAP_DAC_READ_SEARCH or CAP_DAC_OVERRIDE): run as an ordinary user, "
        "or move the checkout to a directory that others may enter"
    )


def _effective_capabilities() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        # No such file: not Linux, where there are no capabilities to pass on either.
        return 0
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
