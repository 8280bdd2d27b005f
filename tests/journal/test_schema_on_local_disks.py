"""Local disks: a journal on a network file system is refused."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from chat2pay_async._journal.schema import check_local
from chat2pay_async.errors import JournalError


def mounts(folder: Path, *lines: tuple[str, str]) -> Path:
    """Write a table of mounted file systems as the kernel does."""
    table = folder / "mountinfo"
    table.write_text(
        "".join(
            f"{36 + number} 35 98:0 / {point} rw,noatime shared:1 - {kind} /dev/root rw\n"
            for number, (point, kind) in enumerate(lines)
        ),
        "utf-8",
    )
    return table


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph", "9p"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    table = mounts(tmp_path, ("/", "ext4"), (str(tmp_path), kind))
    with pytest.raises(
        JournalError, match=rf"network file system \({kind}\).*Put it on a local disk"
    ):
        check_local(tmp_path / "spring.db", table)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "apfs", "zfs"])
def test_a_local_file_system_is_accepted(tmp_path: Path, kind: str) -> None:
    check_local(tmp_path / "spring.db", mounts(tmp_path, ("/", "nfs"), (str(tmp_path), kind)))


def test_the_nearest_mount_counts_in_any_order(tmp_path: Path) -> None:
    near, far = (str(tmp_path), "nfs"), (str(tmp_path.parent), "ext4")
    for lines in ([near, far, ("/", "ext4")], [("/", "ext4"), far, near]):
        with pytest.raises(JournalError, match="nfs"):
            check_local(tmp_path / "spring.db", mounts(tmp_path, *lines))
    below = (str(tmp_path / "below"), "nfs")
    beside = (str(tmp_path)[:-1], "nfs")
    check_local(tmp_path / "spring.db", mounts(tmp_path, ("/", "ext4"), below, beside))


def test_the_later_of_two_mounts_at_one_path_counts(tmp_path: Path) -> None:
    place = str(tmp_path)
    with pytest.raises(JournalError, match="nfs"):
        check_local(tmp_path / "spring.db", mounts(tmp_path, (place, "autofs"), (place, "nfs")))


def test_escaped_characters_in_a_mount_point_are_read(tmp_path: Path) -> None:
    for name, written in {"my disk": "my\\040disk", "a\\b": "a\\134b"}.items():
        folder = tmp_path / name
        folder.mkdir()
        table = mounts(tmp_path, ("/", "ext4"), (f"{tmp_path}/{written}", "nfs"))
        with pytest.raises(JournalError, match="nfs"):
            check_local(folder / "spring.db", table)


@pytest.mark.parametrize("odd", ["\x0c", "\x85", "\xa0", "\u2028"], ids=ascii)
def test_odd_characters_in_a_mount_point_are_no_separators(tmp_path: Path, odd: str) -> None:
    folder = tmp_path / f"a{odd}b"
    folder.mkdir()
    table = mounts(tmp_path, ("/", "ext4"), (str(tmp_path / "a"), "ext4"), (str(folder), "nfs"))
    with pytest.raises(JournalError, match="nfs"):
        check_local(folder / "spring.db", table)


def test_links_are_followed(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    table = mounts(tmp_path, ("/", "ext4"), (str(share), "nfs"))
    (tmp_path / "folder").symlink_to(share)
    (tmp_path / "spring.db").symlink_to(share / "spring.db")
    for path in (tmp_path / "folder" / "spring.db", tmp_path / "spring.db"):
        with pytest.raises(JournalError, match="nfs"):
            check_local(path, table)


def test_a_disk_is_accepted_where_the_system_has_no_mount_table(tmp_path: Path) -> None:
    check_local(tmp_path / "spring.db", tmp_path / "no mountinfo")


def test_a_disk_that_is_not_listed_is_accepted(tmp_path: Path) -> None:
    check_local(tmp_path / "spring.db", mounts(tmp_path))
    check_local(tmp_path / "spring.db", mounts(tmp_path, ("/elsewhere", "nfs")))


class Share:
    """A path on a share of Windows, resolved."""

    def resolve(self) -> Share:
        return self

    def __str__(self) -> str:
        return str(PureWindowsPath(r"\\server\share\folder"))

    @property
    def parent(self) -> Share:
        return self


def test_a_share_of_windows_is_refused(tmp_path: Path) -> None:
    share: Any = Share()
    with pytest.raises(JournalError, match=r"network file system \(a share\)"):
        check_local(share, tmp_path / "no mountinfo")
