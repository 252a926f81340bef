"""What comes and goes by itself, and what is somebody's: the first may vanish in the night, the other not unseen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbtide_agent.host.volatile import DATABASES, comes_and_goes

EVERYDAY = (
    "/tmp/x",
    "/var/tmp/systemd-private-1/tmp/x",
    "/run/user/1000/bus",
    "/var/mail/ada",
    "/var/vmail/example.org/ada/new/1732.M1P2.us0",
    "/var/spool/postfix/incoming/1A2B3C",
    "/var/cache/man/index.db",
    "/var/log/syslog.7.gz",
    "/var/lib/apt/lists/partial/InRelease",
    "/var/lib/nginx/body/0000000001",
    "/var/lib/php/sessions/sess_1",
    "/var/lib/samba/private/msg.sock/1234",
    "/var/lib/postgresql/15/main/base/pgsql_tmp/pgsql_tmp1.0",
    "/var/lib/pgsql/data/pg_stat_tmp/global.stat",
    "/var/lib/postgresql/15/main/postmaster.pid",
    "/root/.cache",
    "/home/ada/.cache/mozilla/x",
    "/home/ada/Maildir/new/1732.M1P2.us0",
    "/home/ada/notes.txt~",
    "/home/ada/.notes.txt.swp",
    "/home/ada/.#notes",
    "/home/ada/#notes#",
    "/home/ada/.nfs000000001",
    "/home/ada/.mozilla/firefox/lock",
    "/home/ada/film.iso.part",
    "/srv/www/wp-content/cache/page/1f",
    "/srv/app/storage/framework/sessions/x",
    "/srv/git/shop.git/HEAD.lock",
    "/opt/app/tmp/pids/server.pid",
    "/etc/.pwd.lock",
)
SOMEBODYS = (
    "/etc/passwd",
    "/etc/passwd-",
    "/usr/bin/python3",
    "/usr/bin/python3.dpkg-new",
    "/lib/modules/6.1.0",
    "/boot/vmlinuz",
    "/root/letter",
    "/home/ada/tmpl/letter",
    "/home/ada/locks",
    "/srv/tmpfiles",
    "/srv/git/shop.git/objects/1f/2e",
    "/srv/www/wp-content/uploads/1.jpg",
    "/srv/var/log/x",
    "/opt/app/config",
    "/var/backups/dpkg.status.0",
    "/var/lib/dpkg/status",
    "/var/lib/ebbtide/dumps/shop.sql.gz",
    "/var/lib/ldap/data.mdb",
    "/var/lib/mysql/cache/orders.ibd",
    "/var/lib/mysql/sessions/users.MYD",
    "/var/lib/postgresql/15/main/base/16384/2619",
    "/var/lib/postgresql/15/main/pg_wal/000000010000000000000001",
    "/var/www/shop.sqlite",
    "/var/log",
)


@pytest.mark.fault("H4")
@pytest.mark.parametrize("path", EVERYDAY)
def test_nobody_is_told_that_a_night_was_lost_over(path: str) -> None:
    assert comes_and_goes(path)


@pytest.mark.fault("H4")
@pytest.mark.parametrize("path", SOMEBODYS)
def test_no_night_is_whole_without(path: str) -> None:
    assert not comes_and_goes(path)


A_NAME = st.text("abct.-_#~", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))


@given(st.sampled_from(EVERYDAY[:9]), st.lists(A_NAME, min_size=1, max_size=4))
def test_what_lies_below_a_place_where_all_comes_and_goes_does_so_as_well(path: str, below: list[str]) -> None:
    assert comes_and_goes("/".join((path, *below)))


@given(st.sampled_from(("mysql", "postgresql/15/main/base", "ldap")), st.sampled_from(("cache", "tmp", "sessions")))
def test_a_database_may_have_any_name(of: str, name: str) -> None:
    assert not comes_and_goes(f"{DATABASES}{of}/{name}/1259")
