"""What rsync keeps in its xattrs means what it meant at the source."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbtide_agent.fakesuper import (
    ACCESS_ACL,
    DEFAULT_ACL,
    Recorded,
    kernel_acl,
    parse_stat,
    real_xattrs,
    recorded_stat,
)
from ebbtide_console.sandbox.awkward import GROUP, MASK, NO_ID, OTHER, OWNER, OWNING_GROUP, USER, acl

ABSENT = 0x80
IS_USER = 0x80000000
a_number = st.integers(0, 2**32 - 1)


def an_rsync_acl(head: tuple[int, int, int, int], *named: tuple[int, int]) -> bytes:
    return struct.pack("<4I", *head) + b"".join(struct.pack("<II", *entry) for entry in named)


@given(st.builds(Recorded, a_number, st.tuples(a_number, a_number), a_number, a_number))
def test_a_stat_survives_its_text(recorded: Recorded) -> None:
    major, minor = recorded.rdev
    text = f"{recorded.mode:o} {major},{minor} {recorded.uid}:{recorded.gid}"

    assert parse_stat(text.encode()) == recorded


def test_a_stat_reads_as_rsync_writes_it() -> None:
    recorded = parse_stat(b"104755 0,0 1234:4321")

    assert recorded == Recorded(0o104755, (0, 0), 1234, 4321)


@pytest.mark.parametrize("value", [b"", b"104755", b"104755 0 1:2", b"99 0,0 1:2", b"104755 0,0 1:2 3"])
def test_a_stat_that_rsync_never_wrote_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="not a %stat"):
        parse_stat(value)


def test_the_mask_of_an_access_acl_comes_from_the_mode() -> None:
    stale = an_rsync_acl((6, 4, 7, 0), (1001, 6 | IS_USER))

    entries = kernel_acl(stale, 0o640)

    assert entries == acl(
        (OWNER, 6, NO_ID), (USER, 6, 1001), (OWNING_GROUP, 4, NO_ID), (MASK, 4, NO_ID), (OTHER, 0, NO_ID)
    )


def test_named_entries_are_sorted_by_id_users_before_groups() -> None:
    stored = an_rsync_acl((6, 4, 7, 0), (5, 1), (3, 2 | IS_USER), (4, 3), (2, 4 | IS_USER))

    entries = kernel_acl(stored, 0o670)

    named = [entry for entry in struct.iter_unpack("<HHI", entries[4:]) if entry[0] in (USER, GROUP)]
    assert named == [(USER, 4, 2), (USER, 2, 3), (GROUP, 3, 4), (GROUP, 1, 5)]


def test_what_an_acl_leaves_out_is_what_the_mode_says() -> None:
    stored = an_rsync_acl((ABSENT, ABSENT, ABSENT, ABSENT), (1001, 6 | IS_USER))

    entries = kernel_acl(stored, 0o751)

    assert entries == acl(
        (OWNER, 7, NO_ID), (USER, 6, 1001), (OWNING_GROUP, 5, NO_ID), (MASK, 5, NO_ID), (OTHER, 1, NO_ID)
    )


def test_a_default_acl_keeps_its_own_mask() -> None:
    stored = an_rsync_acl((7, 5, 3, 0), (1001, 6 | IS_USER))

    entries = kernel_acl(stored)

    assert (MASK, 3, NO_ID) in list(struct.iter_unpack("<HHI", entries[4:]))


def test_an_access_acl_that_says_no_more_than_the_mode_is_none() -> None:
    absent, masked = an_rsync_acl((ABSENT, ABSENT, ABSENT, ABSENT)), an_rsync_acl((ABSENT, ABSENT, 4, ABSENT))

    assert real_xattrs({ACCESS_ACL: absent}, 0o751) == {}
    assert [*real_xattrs({ACCESS_ACL: masked}, 0o751)] == ["system.posix_acl_access"]
    assert [*real_xattrs({DEFAULT_ACL: absent}, 0o751)] == ["system.posix_acl_default"]


@pytest.mark.parametrize("value", [b"", b"x" * 12, b"x" * 17])
def test_an_acl_that_rsync_never_wrote_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="not an ACL"):
        kernel_acl(value, 0o644)


def test_the_stores_own_attributes_are_not_the_hosts() -> None:
    stored = {
        "user.rsync.%stat": b"",
        "user.rsync.security.capability": b"c",
        "user.note": b"n",
        "security.selinux": b"s",
    }

    assert real_xattrs(stored, 0o644) == {"security.capability": b"c", "user.note": b"n"}


@pytest.mark.parametrize("claim", [b"120777 0,0 0:0", b"100644 0,0 0:0", b"777 0,0 0:0"])
def test_a_directory_that_claims_to_be_something_else_is_not_believed(claim: bytes) -> None:
    directory = Path("/").stat()

    recorded = recorded_stat(directory, claim)

    assert recorded.mode == directory.st_mode


def test_what_only_root_may_set_gets_its_own_name_back_and_what_a_user_named_alike_keeps_it() -> None:
    stored = {
        "user.rsync.security.capability": b"c",
        "user.rsync.trusted.note": b"t",
        "user.rsync.note": b"n",
        "user.rsync.%stat": b"100644 0,0 0:0",
        "user.own": b"o",
    }

    assert real_xattrs(stored, 0o644) == {
        "security.capability": b"c",
        "trusted.note": b"t",
        "user.rsync.note": b"n",
        "user.own": b"o",
    }
