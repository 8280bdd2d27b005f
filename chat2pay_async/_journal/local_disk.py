"""Whether a path is on a disk of this machine: across a network, locks and syncs may be lies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from chat2pay_async.errors import JournalError

__all__ = ["check_local"]

_ACROSS_NETWORKS: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.cephfs", "fuse.glusterfs", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
    | {"smb2", "smb3", "smbfs"}
)
_MOUNTS: Final = Path("/proc/self/mountinfo")


def check_local(path: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a path across a network, as far as the system tells (Linux, and Windows' shares).

    Raises:
        JournalError: It is one.
    """
    place = path.resolve().parent
    kind = "a share" if str(place).startswith("\\\\") else _file_system(place, mounts)
    if kind in _ACROSS_NETWORKS | {"a share"}:
        raise JournalError(
            f"the journal {path} would be on a file system across a network ({kind}), whose locks "
            "and syncs can't be relied on: put it on a local disk"
        )


def _file_system(place: Path, mounts: Path) -> str:
    """The kind of the file system that a folder is on; empty where it can't be told."""
    if not mounts.exists():
        return ""
    best, kind = "", ""
    # Only blanks and line ends part: any other character may be in a name.
    for line in filter(None, mounts.read_text("utf-8", "surrogateescape").split("\n")):
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split(" ")[4])
        if place.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, right.partition(" ")[0]
    return kind
