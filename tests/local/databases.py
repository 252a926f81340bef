"""PostgreSQL, MariaDB and OpenLDAP for tests of their dumps: run, filled, asked what they hold, and restored."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.local.dumping import Machine
from tests.local.enclosed import wait_until

BLOB = bytes(range(256)) * 400
PATIENCE_SECONDS = 120
ROWS, PEOPLE = 20_000, 3_000
ODD = ["a=b", "postgresql://x", 'it\'s "q" \\ $HOME;', "-dash", "sl/ash%2F", "new\nline", "ü]`$(touch x)", " space"]
POSTGRES = ("runuser", "-u", "postgres", "--", "psql", "-X", "--quiet", "-At", "-v", "ON_ERROR_STOP=1")
LDAP = ("-Q", "-Y", "EXTERNAL", "-H", "ldapi:///")
EXAMPLE = "dc=example,dc=org"


@dataclass(frozen=True)
class Kind:
    """A kind of database, and what a test needs to know of it.

    `program` is what dumps it; `killed` is, for a shell, the process that a dump depends on; `change` makes one dump
    another, which is `changes`.
    """

    script: str
    program: str
    killed: str
    start: Callable[[Machine], None]
    fill: Callable[[Machine], None]
    change: Callable[[Machine], object]
    facts: Callable[[Machine], object]
    restore: Callable[[Machine, Path], None]
    changes: str

    @property
    def name(self) -> str:
        return self.script.partition("-")[2]


# --- PostgreSQL


def start_postgresql(machine: Machine) -> None:
    wait_until(lambda: machine.works("pg_ctlcluster", "17", "main", "start"), "PostgreSQL")


def fill_postgresql(machine: Machine) -> None:
    in_postgresql(machine, "CREATE ROLE web LOGIN PASSWORD 'se''cret'; CREATE DATABASE shop OWNER web")
    in_postgresql(
        machine,
        f"CREATE TABLE t AS SELECT i, md5(i::text) || repeat('x', 100) AS x FROM generate_series(1, {ROWS}) i;"
        f"SELECT lo_from_bytea(4711, '\\x{BLOB.hex()}');"
        "COMMENT ON DATABASE shop IS 'what we sell'; GRANT SELECT ON t TO web;",
        "shop",
    )
    for name in ODD:
        quoted = '"' + name.replace('"', '""') + '"'
        in_postgresql(machine, f"CREATE DATABASE {quoted}")
        in_postgresql(machine, "CREATE TABLE own AS SELECT current_database() AS name", name)
    in_postgresql(machine, "CREATE TABLE kept AS SELECT 1 AS x")
    in_postgresql(machine, "CREATE EXTENSION pg_stat_statements", "template1")


def in_postgresql(machine: Machine, sql: str, database: str = "postgres") -> str:
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return machine.run(*POSTGRES, "-d", f"dbname='{escaped}'", feed=sql)


def facts_of_postgresql(machine: Machine) -> object:
    return {
        "names": in_postgresql(
            machine, "SELECT datname, rolname FROM pg_database JOIN pg_roles r ON datdba = r.oid ORDER BY 1"
        ),
        "roles": in_postgresql(machine, "SELECT rolname, rolcanlogin, rolpassword FROM pg_authid ORDER BY 1"),
        "shop": in_postgresql(machine, "SELECT count(*), md5(string_agg(x, '' ORDER BY i)) FROM t", "shop"),
        "grant": in_postgresql(machine, "SELECT relacl FROM pg_class WHERE relname = 't'", "shop"),
        "blob": in_postgresql(machine, "SELECT md5(lo_get(4711))", "shop"),
        "odd": [in_postgresql(machine, "SELECT name FROM own", name) for name in ODD],
        "kept": in_postgresql(machine, "SELECT x FROM kept"),
        "template": in_postgresql(machine, "SELECT extname FROM pg_extension ORDER BY 1", "template1"),
    }


def restore_postgresql(machine: Machine, dumps: Path) -> None:
    """As the script's own comments say; a name with a newline has to be created first."""
    in_postgresql(machine, 'CREATE DATABASE "new\nline"')
    files = sorted((dumps / "postgresql").glob("db-*"))
    for file in [dumps / "postgresql/roles.sql.gz", *files]:
        database = {"db-template1.sql.gz": "template1", "db-new\nline.sql.gz": "new\nline"}.get(file.name, "postgres")
        sql = gzip.decompress(file.read_bytes()).decode().replace("CREATE ROLE postgres;\n", "")
        in_postgresql(machine, sql, database)


# --- MariaDB


def start_mariadb(machine: Machine) -> None:
    machine.run("install", "-d", "-o", "mysql", "/run/mysqld")
    machine.run("sh", "-c", "mariadbd --user=mysql --skip-networking --innodb-log-file-size=8M >/tmp/log 2>&1 &")
    machine.run("mariadb-admin", f"--wait={PATIENCE_SECONDS}", "--silent", "ping")


def fill_mariadb(machine: Machine) -> None:
    in_mariadb(
        machine,
        "CREATE DATABASE shop; USE shop; CREATE TABLE t (i INT PRIMARY KEY, x TEXT, b LONGBLOB);"
        f"INSERT INTO t SELECT seq, concat(md5(seq), repeat('x', 100)), NULL FROM seq_1_to_{ROWS};"
        f"UPDATE t SET b = x'{BLOB.hex()}' WHERE i = 7;"
        "CREATE VIEW v AS SELECT i FROM t WHERE i < 10; CREATE PROCEDURE p() SELECT 'called';"
        "CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW SET NEW.x = OLD.x;"
        "CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DO DELETE FROM t WHERE i = 0;"
        "CREATE USER web@localhost IDENTIFIED BY 'se''cret'; GRANT SELECT, EXECUTE ON shop.* TO web@localhost;",
    )
    for name in ODD:
        if not name.startswith(" "):
            in_mariadb(machine, f"CREATE DATABASE {(quoted := backquoted(name))}; CREATE TABLE {quoted}.own (x INT)")


def backquoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def in_mariadb(machine: Machine, sql: str, *options: str) -> str:
    return machine.run(
        "mariadb", "--batch", "--skip-column-names", "--default-character-set=utf8mb4", *options, feed=sql
    )


def facts_of_mariadb(machine: Machine) -> object:
    as_web = machine.run("env", "MYSQL_PWD=se'cret", "mariadb", "-N", "-u", "web", "shop", "-e", "CALL p()")
    return {
        "names": in_mariadb(machine, "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2"),
        "shop": in_mariadb(machine, "SELECT count(*), md5(group_concat(x ORDER BY i)), md5(max(b)) FROM shop.t"),
        "rest": in_mariadb(
            machine,
            "SHOW CREATE VIEW shop.v; SHOW CREATE EVENT shop.e;"
            "SELECT trigger_name, action_statement FROM information_schema.triggers WHERE trigger_schema = 'shop'",
        ),
        "users": in_mariadb(machine, "SELECT * FROM mysql.global_priv ORDER BY 1, 2; SHOW GRANTS FOR web@localhost"),
        "as web": as_web,
    }


def restore_mariadb(machine: Machine, dumps: Path) -> None:
    for file in sorted((dumps / "mysql").glob("db-*")):
        in_mariadb(machine, gzip.decompress(file.read_bytes()).decode())


# --- OpenLDAP


def start_ldap(machine: Machine) -> None:
    if machine.works("ldapwhoami", *LDAP):
        return
    machine.run("install", "-d", "-o", "openldap", "/run/slapd")
    machine.run("slapd", "-h", "ldapi:///", "-u", "openldap", "-g", "openldap", "-F", "/etc/ldap/slapd.d")


def fill_ldap(machine: Machine) -> None:
    machine.run("install", "-d", "-o", "openldap", "/var/lib/ldap2")
    machine.run(
        "ldapadd",
        *LDAP,
        feed="dn: olcDatabase=mdb,cn=config\nobjectClass: olcMdbConfig\nolcDbDirectory: /var/lib/ldap2\n"
        f"olcSuffix: {EXAMPLE}\nolcRootDN: cn=admin,{EXAMPLE}\nolcRootPW: se cret\n"
        "olcAccess: to * by dn.exact=gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth write by * none\n"
        "olcLimits: * size=unlimited\n",
    )
    machine.run(
        "ldapadd", *LDAP, feed=f"dn: {EXAMPLE}\nobjectClass: domain\n\n" + "".join(map(a_person, range(PEOPLE)))
    )


def a_person(number: int) -> str:
    odd = f'cn: Ünï \\ "{number}"\ndescription:: {"QQpC" * 30}\nuserPassword: {{SSHA}}{number}\n'
    return f"dn: cn=p{number},{EXAMPLE}\nobjectClass: person\ncn: p{number}\nsn: of {number}\n{odd}\n"


def facts_of_ldap(machine: Machine) -> object:
    return {
        "first": machine.run("ldapsearch", *LDAP, "-LLL", "-b", "dc=nodomain", "*", "+"),
        "second": machine.run("ldapsearch", *LDAP, "-LLL", "-o", "ldif-wrap=no", "-b", EXAMPLE, "*", "+"),
        "config": machine.run("ldapsearch", *LDAP, "-LLL", "-b", "cn=config", "*", "+"),
        "as admin": machine.run("ldapwhoami", "-x", "-H", "ldapi:///", "-D", f"cn=admin,{EXAMPLE}", "-w", "se cret"),
    }


def restore_ldap(machine: Machine, dumps: Path) -> None:
    stop = "pid=$(cat /run/slapd/slapd.pid) && kill -INT $pid && tail --pid=$pid --sleep-interval=0.1 -f /dev/null"
    machine.run("sh", "-c", stop)
    machine.run("sh", "-c", "rm -r /etc/ldap/slapd.d/* /var/lib/ldap/*; install -d -o openldap /var/lib/ldap2")
    for number, name in enumerate(["config", "db-1", "db-2"]):
        ldif = gzip.decompress((dumps / f"ldap/{name}.ldif.gz").read_bytes()).decode()
        add = ("slapadd", "-n", str(number), "-F", "/etc/ldap/slapd.d")
        machine.run("runuser", "-u", "openldap", "--", *add, feed=ldif)
    start_ldap(machine)


KINDS = [
    Kind(
        script="10-postgresql",
        program="/usr/bin/pg_dump",
        killed="$(head -n 1 /var/lib/postgresql/17/main/postmaster.pid)",
        start=start_postgresql,
        fill=fill_postgresql,
        change=lambda machine: in_postgresql(machine, "INSERT INTO t VALUES (0, 'new')", "shop"),
        facts=facts_of_postgresql,
        restore=restore_postgresql,
        changes="postgresql/db-shop.sql.gz",
    ),
    Kind(
        script="10-mysql",
        program="/usr/bin/mariadb-dump",
        killed="$(cat /run/mysqld/mysqld.pid)",
        start=start_mariadb,
        fill=fill_mariadb,
        change=lambda machine: in_mariadb(machine, "INSERT INTO shop.t VALUES (0, 'new', NULL)"),
        facts=facts_of_mariadb,
        restore=restore_mariadb,
        changes="mysql/db-shop.sql.gz",
    ),
    Kind(
        script="10-ldap",
        program="/usr/sbin/slapcat",
        killed="$reader",  # it reads the files itself, not through the server
        start=start_ldap,
        fill=fill_ldap,
        change=lambda machine: machine.run("ldapadd", *LDAP, feed=a_person(PEOPLE)),
        facts=facts_of_ldap,
        restore=restore_ldap,
        changes="ldap/db-2.ldif.gz",
    ),
]
