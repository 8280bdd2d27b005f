"""Local disks: a journal on a network file system would be neither locked nor synced reliably."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from chat2pay_async.errors import JournalError

__all__ = ["check_local"]

_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.cephfs", "fuse.glusterfs", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
    | {"smb2", "smb3", "smbfs", "a share"}
)
_MOUNTS: Final = Path("/proc/self/mountinfo")


def check_local(path: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a path on a network, as far as the system tells (Linux, and shares of Windows).

    Raises:
        JournalError: The path is on a network file system.
    """
    folder = path.resolve().parent
    kind = "a share" if str(folder).startswith("\\\\") else _file_system(folder, mounts)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise JournalError(
            f"the journal {path} would be on a network file system ({kind}), whose locks and syncs "
            "are not reliable. Put it on a local disk"
        )


def _file_system(folder: Path, mounts: Path) -> str:
    """Find the kind of a folder's file system; empty where it is not known."""
    if not mounts.exists():
        return ""
    best, kind = "", ""
    # Only blanks and line feeds separate: a name may have any other character.
    for line in filter(None, mounts.read_text("utf-8", "surrogateescape").split("\n")):
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split(" ")[4])
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, right.partition(" ")[0]
    return kind
