"""What rsync did, told truly."""

import pytest

from ebbtide_agent.host.outcome import (
    Counts,
    Outcome,
    Remark,
    as_vanished,
    in_view_of,
    mended,
    parse_counts,
    tell,
    together,
    why,
)
from ebbtide_agent.procs import KEEP_BYTES, Ended

STATS = b"""
Number of files: 54 (reg: 33, dir: 9, link: 8, dev: 2, special: 2)
Number of created files: 53 (reg: 33)
Number of deleted files: 0
Number of regular files transferred: 33
Total file size: 41959630 bytes
Total transferred file size: 41959630 bytes
Literal data: 41959630 bytes
Total bytes sent: 41967371
Total bytes received: 812

sent 41967371 bytes  received 812 bytes  27978788.67 bytes/sec
"""


def an_end(exit_code: int, err: str = "", out: bytes = b"") -> Ended:
    return Ended(("rsync",), exit_code, out, err.encode(), 1.0)


def test_counts_come_from_the_statistics() -> None:
    assert parse_counts("  1,234  45%  1.0MB/s 0:00:01\r" + STATS.decode()) == Counts(33, 54, 41959630, 41967371)


def test_without_statistics_nothing_counts() -> None:
    assert parse_counts("  1,234  45%  1.0MB/s") == Counts()


def test_exit_0_is_complete() -> None:
    outcome = tell(an_end(0, out=STATS))

    assert (outcome.status, outcome.problems, outcome.counts.entries) == ("complete", (), 54)


@pytest.mark.fault("H4")
def test_files_that_vanished_are_warnings() -> None:
    outcome = tell(an_end(24, 'file has vanished: "/var/spool/x"\nrsync warning: some files vanished … (code 24)\n'))

    assert outcome.status == "complete-with-warnings"
    assert outcome.problems == ('file has vanished: "/var/spool/x"',)


@pytest.mark.fault("H4")
@pytest.mark.parametrize(
    ("root", "vanished", "status"),
    [
        ("/", 'file has vanished: "/etc/passwd"', "partial"),
        ("/", 'directory has vanished: "/lib/modules/6.1.0"', "partial"),
        ("/", 'file has vanished: "/var/lib/mysql/shop/orders.ibd"', "partial"),
        ("/", 'file has vanished: "/home/ada/.bashrc.lock"', "complete-with-warnings"),
        ("/", 'file has vanished: "/tmp/"quoted""', "complete-with-warnings"),
        ("/", 'file has vanished: "/home/ada/"quoted""', "partial"),
        ("/srv/image/", 'file has vanished: "/srv/image/var/mail/ada"', "complete-with-warnings"),
        ("/srv/é", 'file has vanished: "/srv/\\#303\\#251/var/mail/ada"', "complete-with-warnings"),
        ("/srv/image/", 'file has vanished: "/srv/image/etc/passwd"', "partial"),
        ("/srv/image/", 'file has vanished: "/tmp/of-another-tree"', "partial"),
        ("/tmp/tree", 'file has vanished: "/tmp/tree/etc/passwd"', "partial"),
        ("/", "file has vanished: and rsync puts it in words that nobody knew", "partial"),
        ("/", "rsync: it does not say what", "partial"),
    ],
)
def test_only_what_comes_and_goes_may_vanish_without_costing_the_night(root: str, vanished: str, status: str) -> None:
    outcome = tell(an_end(24, f"{vanished}\n"), root)

    assert (outcome.status, outcome.problems) == (status, (vanished,))


@pytest.mark.fault("H4")
def test_one_that_counts_is_enough_and_what_else_is_said_is_not() -> None:
    mail, again = 'file has vanished: "/var/mail/ada"', "WARNING: log failed verification -- update discarded"

    assert tell(an_end(24, f"{again}\n{mail}\n")).status == "complete-with-warnings"
    assert tell(an_end(24, f'{mail}\nfile has vanished: "/srv/shop/orders"\n')).status == "partial"


def test_where_not_all_that_rsync_said_was_kept_something_else_may_have_vanished() -> None:
    line = b'file has vanished: "/var/log/old"\n'
    kept = (line * (KEEP_BYTES // len(line) + 1))[-KEEP_BYTES:]

    assert tell(Ended(("rsync",), 24, b"", line, 0.0)).status == "complete-with-warnings"
    assert tell(Ended(("rsync",), 24, b"", kept, 0.0)).status == "partial"


@pytest.mark.fault("H4")
def test_a_listed_path_that_is_not_there_counts_beside_a_file_that_vanished() -> None:
    listed = 'rsync: [sender] link_stat "/srv/shop/orders" failed: No such file or directory (2)\n'
    ended = an_end(24, f'{listed}file has vanished: "/run/x.lock"\n')

    outcome = tell(as_vanished(ended))

    assert (outcome.status, outcome.vanished) == ("partial", (b"srv/shop/orders", b"run/x.lock"))


@pytest.mark.fault("H4")
def test_of_listed_paths_that_are_not_there_more_may_be_missing_than_rsync_was_heard_to_name() -> None:
    listed = 'rsync: [sender] link_stat "/run/x.lock" failed: No such file or directory (2)\n'

    assert tell(as_vanished(an_end(24, listed))).status == "complete-with-warnings"
    assert tell(as_vanished(an_end(24, (listed * KEEP_BYTES)[-KEEP_BYTES:]))).status == "partial"


@pytest.mark.fault("H4")
def test_a_listed_path_that_is_not_there_has_vanished_whatever_its_name_is() -> None:
    missing = (
        'rsync: [sender] link_stat "/srv/\\#303\\#251 "x"\\#012" failed: No such file or directory (2)\n'
        'rsync: [sender] link_stat "/srv/shop/orders" failed: Not a directory (20)\n'
        'file has vanished: "/srv/later"\nWARNING: log failed verification -- update discarded (will try again).\n'
        "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394)\n"
    )

    outcome = tell(as_vanished(an_end(23, missing)))

    assert (outcome.status, outcome.exit_code, outcome.lacks_what_vanished) == ("partial", 24, True)
    assert outcome.vanished == ('srv/é "x"\n'.encode(), b"srv/shop/orders", b"srv/later")
    assert outcome.problems[1] == 'file has vanished: "/srv/shop/orders"'


@pytest.mark.fault("H5")
@pytest.mark.parametrize(
    "also",
    [
        'rsync: [sender] send_files failed to open "/srv/key": Permission denied (13)',
        'rsync: [generator] recv_generator: mkdir "/srv/x" (in tree) failed: No space left on device (28)',
        "ERROR: log failed verification -- update discarded.",
        'rsync: [receiver] link_stat "/srv/x" failed: No such file or directory (2)',
        "x" * KEEP_BYTES,
    ],
)
def test_where_anything_else_is_wrong_more_than_what_vanished_is_missing(also: str) -> None:
    gone = 'rsync: [sender] link_stat "/srv/shop/orders" failed: No such file or directory (2)\n'

    outcome = tell(as_vanished(an_end(23, f"{gone}{also}\n")))

    assert (outcome.status, outcome.exit_code, outcome.lacks_what_vanished) == ("partial", 23, False)


@pytest.mark.fault("H4")
@pytest.mark.parametrize(
    ("others", "lacks"),
    [
        ([], True),
        ([Outcome("complete", 0, Counts(), ())], True),
        ([Outcome("complete-with-warnings", 24, Counts(), ("mail",), (b"var/mail/ada",))], True),
        ([Outcome("partial", 23, Counts(), ("unreadable",))], False),
        ([Outcome("partial", 12, Counts(), ("broke",))], False),
        ([Outcome("failed", 5, Counts(), ("refused",))], False),
    ],
)
def test_only_a_push_that_went_well_but_for_what_vanished_lacks_nothing_else(
    others: list[Outcome], lacks: bool
) -> None:
    vanished = Outcome("partial", 24, Counts(), ("orders",), (b"srv/orders",))

    assert together([vanished, *others]).lacks_what_vanished is lacks
    assert together([*others, vanished]).lacks_what_vanished is lacks


@pytest.mark.fault("H4")
@pytest.mark.parametrize(
    ("last", "status", "exit_code", "lacks"),
    [
        (Outcome("complete", 0, Counts(entries=2, bytes_sent=3), ()), "complete-with-warnings", 24, False),
        (Outcome("complete-with-warnings", 24, Counts(entries=2, bytes_sent=3), ("m",), (b"tmp/x",)),
         "complete-with-warnings", 24, False),
        (Outcome("partial", 24, Counts(entries=2, bytes_sent=3), ("again",), (b"srv/new",)), "partial", 24, True),
        (Outcome("partial", 23, Counts(entries=2, bytes_sent=3), ("unreadable",)), "partial", 23, False),
        (Outcome("failed", 77, Counts(entries=2, bytes_sent=3), ("over",)), "partial", 77, False),
    ],
)  # fmt: skip
def test_what_vanished_costs_nothing_if_the_next_push_is_whole(
    last: Outcome, status: str, exit_code: int, lacks: bool
) -> None:
    earlier = Outcome("partial", 24, Counts(entries=9, bytes_sent=4), ("orders",), (b"srv/orders",))

    both = mended(earlier, last)

    assert (both.status, both.exit_code, both.lacks_what_vanished) == (status, exit_code, lacks)
    assert both.counts == Counts(entries=2, bytes_sent=7)
    assert both.problems[-1] == "orders"
    assert both.problems[0].startswith("1 path vanished") or both.problems[0] == last.problems[0]
    assert mended(Outcome("complete", 0, Counts(), ()), last).status == together([last, last]).status


@pytest.mark.fault("H5")
def test_what_could_not_be_read_makes_the_night_partial_and_is_named() -> None:
    refused = 'rsync: [sender] send_files failed to open "/root/key": Permission denied (13)'

    outcome = tell(an_end(23, f"{refused}\nrsync error: some files/attrs were not transferred (code 23)\n"))

    assert (outcome.status, outcome.exit_code, outcome.problems) == ("partial", 23, (refused,))


@pytest.mark.parametrize(
    ("exit_code", "status"),
    [*((code, "failed") for code in (1, 5, 127)), *((code, "partial") for code in (11, 12, 20, 24, 30, 255))],
)
def test_whatever_may_have_moved_something_is_partial_and_the_rest_failed(exit_code: int, status: str) -> None:
    outcome = tell(an_end(exit_code))

    assert outcome.status == status
    assert outcome.problems == (f"rsync ended with exit code {exit_code}",)


def an_outcome(status: str, exit_code: int, sent: int = 10, files: int = 1) -> Outcome:
    return Outcome(status, exit_code, Counts(files, files, files, sent), (status,) if exit_code else ())


@pytest.mark.parametrize(
    ("passes", "status", "exit_code"),
    [
        ([("complete", 0), ("complete", 0)], "complete", 0),
        ([("complete", 0), ("complete-with-warnings", 24), ("complete", 0)], "complete-with-warnings", 24),
        ([("partial", 23), ("complete-with-warnings", 24)], "partial", 23),
        ([("failed", 5)], "failed", 5),
        ([("complete", 0), ("failed", 5)], "partial", 5),
    ],
)
def test_several_passes_are_as_good_as_the_worst(passes: list[tuple[str, int]], status: str, exit_code: int) -> None:
    outcome = together([an_outcome(*each) for each in passes])

    assert (outcome.status, outcome.exit_code) == (status, exit_code)


def test_of_several_passes_all_problems_are_told_and_all_that_was_sent_counts() -> None:
    outcome = together([an_outcome("partial", 23, sent=3), an_outcome("complete-with-warnings", 24, 4, files=9)])

    assert outcome.problems == ("partial", "complete-with-warnings")
    assert outcome.counts == Counts(9, 9, 9, 7)


def test_what_was_cut_off_counts_what_its_progress_says_was_sent() -> None:
    said = b"\r     1,000,000  10%  1.00MB/s  0:00:09  \r     30,000,000  45%  2.01MB/s  0:00:14 (xfr#1, to-chk=6/8)"

    outcome = tell(Ended(("rsync",), 12, said, b"rsync: connection unexpectedly closed\n", 1.0))

    assert (outcome.status, outcome.counts) == ("partial", Counts(bytes_sent=30_000_000))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("complete", ["script", "killed", "one", "two"]),
        ("partial", ["script", "killed", "one", "two"]),
        ("suspect", ["one", "script", "killed", "two"]),
    ],
)
def test_what_is_remarked_on_comes_before_what_rsync_says_but_what_is_gravest_comes_first(
    status: str, expected: list[str]
) -> None:
    remarks = (Remark("complete-with-warnings", "killed"), Remark("partial", "script"))

    outcome = in_view_of(remarks, Outcome(status, 0, Counts(), ("one", "two")))

    assert (outcome.status, list(outcome.problems)) == ("suspect" if status == "suspect" else "partial", expected)


def test_without_remarks_an_outcome_stays_as_it_is() -> None:
    outcome = Outcome("partial", 23, Counts(), ("one", "two"))

    assert in_view_of((), outcome) == outcome


@pytest.mark.parametrize(
    ("err", "reason"),
    [
        (
            "ssh: connect to host 127.0.0.1 port 22: Connection refused\r\n"
            "rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n"
            "rsync error: unexplained error (code 255) at io.c(232) [Receiver=3.5.0]\n",
            "ssh: connect to host 127.0.0.1 port 22: Connection refused",
        ),
        (
            "rsync error: timeout in data send/receive (code 30)\n",
            "rsync error: timeout in data send/receive (code 30)",
        ),
        ("", "exit code 12, and it said nothing"),
    ],
)
def test_why_it_failed_is_what_was_said_before_it_said_that_it_ends(err: str, reason: str) -> None:
    assert why(an_end(12, err)) == reason
