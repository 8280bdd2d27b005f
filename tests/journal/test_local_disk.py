from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from chat2pay_async._journal.local_disk import check_local
from chat2pay_async.errors import JournalError


def mounts(folder: Path, *lines: tuple[str, str]) -> Path:
    """What the kernel says of mounted file systems: where, and of what kind."""
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
def test_a_file_system_across_a_network_is_refused(tmp_path: Path, kind: str) -> None:
    table = mounts(tmp_path, ("/", "ext4"), (str(tmp_path), kind))
    with pytest.raises(JournalError, match=rf"across a network \({kind}\).*put it on a local disk"):
        check_local(tmp_path / "spring.db", table)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "apfs", "zfs"])
def test_a_local_file_system_is_accepted(tmp_path: Path, kind: str) -> None:
    check_local(tmp_path / "spring.db", mounts(tmp_path, ("/", "nfs"), (str(tmp_path), kind)))


def test_the_nearest_mount_counts_wherever_it_is_listed(tmp_path: Path) -> None:
    near, far = (str(tmp_path), "nfs"), (str(tmp_path.parent), "ext4")
    for lines in ([near, far, ("/", "ext4")], [("/", "ext4"), far, near]):
        with pytest.raises(JournalError, match="nfs"):
            check_local(tmp_path / "spring.db", mounts(tmp_path, *lines))
    below = (str(tmp_path / "below"), "nfs")
    beside = (str(tmp_path)[:-1], "nfs")
    check_local(tmp_path / "spring.db", mounts(tmp_path, ("/", "ext4"), below, beside))


def test_of_two_mounts_at_one_place_the_later_is_seen(tmp_path: Path) -> None:
    place = str(tmp_path)
    with pytest.raises(JournalError, match="nfs"):
        check_local(tmp_path / "spring.db", mounts(tmp_path, (place, "autofs"), (place, "nfs")))


def test_blanks_and_backslashes_in_a_mount_point_are_read(tmp_path: Path) -> None:
    for name, written in {"my disk": "my\\040disk", "a\\b": "a\\134b"}.items():
        folder = tmp_path / name
        folder.mkdir()
        table = mounts(tmp_path, ("/", "ext4"), (f"{tmp_path}/{written}", "nfs"))
        with pytest.raises(JournalError, match="nfs"):
            check_local(folder / "spring.db", table)


@pytest.mark.parametrize("odd", ["\x0c", "\x85", "\xa0", "\u2028"], ids=ascii)
def test_odd_characters_in_a_mount_point_part_nothing(tmp_path: Path, odd: str) -> None:
    folder = tmp_path / f"a{odd}b"
    folder.mkdir()
    table = mounts(tmp_path, ("/", "ext4"), (str(tmp_path / "a"), "ext4"), (str(folder), "nfs"))
    with pytest.raises(JournalError, match="nfs"):
        check_local(folder / "spring.db", table)


def test_a_link_is_followed_to_the_disk_that_it_leads_to(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    table = mounts(tmp_path, ("/", "ext4"), (str(share), "nfs"))
    (tmp_path / "folder").symlink_to(share)
    (tmp_path / "spring.db").symlink_to(share / "spring.db")
    for path in (tmp_path / "folder" / "spring.db", tmp_path / "spring.db"):
        with pytest.raises(JournalError, match="nfs"):
            check_local(path, table)


def test_where_the_system_does_not_tell_it_is_trusted(tmp_path: Path) -> None:
    check_local(tmp_path / "spring.db", tmp_path / "no mountinfo")


def test_a_disk_that_is_not_listed_is_trusted(tmp_path: Path) -> None:
    check_local(tmp_path / "spring.db", mounts(tmp_path))
    check_local(tmp_path / "spring.db", mounts(tmp_path, ("/elsewhere", "nfs")))


class Share:
    """A path on a share, as Windows resolves it."""

    def resolve(self) -> Share:
        return self

    def __str__(self) -> str:
        return str(PureWindowsPath(r"\\server\share\folder"))

    @property
    def parent(self) -> Share:
        return self


def test_a_share_of_windows_is_refused(tmp_path: Path) -> None:
    share: Any = Share()
    with pytest.raises(JournalError, match=r"across a network \(a share\)"):
        check_local(share, tmp_path / "no mountinfo")
