"""A manifest's line holds an entry exactly, whatever its bytes."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbtide_agent.entry import Entry, Header, decode, decode_header, encode, encode_header, quoted

paths = st.binary(min_size=1, max_size=300)
numbers = st.integers(0, 2**64)
pairs = st.none() | st.tuples(numbers, numbers)
xattr_names = st.binary(min_size=1, max_size=20).map(os.fsdecode)
entries = st.builds(
    Entry,
    path=paths,
    kind=st.sampled_from("fdlcbps"),
    mode=st.integers(0, 0o7777),
    uid=numbers,
    gid=numbers,
    size=numbers,
    mtime_ns=st.integers(-(2**63), 2**63),
    xattrs=st.dictionaries(xattr_names, st.binary(max_size=50)),
    link=st.none() | paths,
    rdev=pairs,
    group=st.none() | paths,
    sha256=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    store=pairs,
)


@given(entries)
def test_an_entry_survives_its_line(entry: Entry) -> None:
    line = encode(entry)

    assert decode(line) == entry


@given(entries)
def test_a_line_is_printable_ascii_and_one_line(entry: Entry) -> None:
    line = encode(entry)

    assert line.isascii()
    assert line.isprintable()


@given(paths, paths)
def test_two_paths_never_read_the_same(one: bytes, other: bytes) -> None:
    assert (quoted(one) == quoted(other)) == (one == other)


def test_a_line_has_the_fields_that_the_format_names() -> None:
    entry = Entry(
        path=b"a%\xff/b c",
        kind="f",
        mode=0o4755,
        uid=33,
        gid=34,
        size=5,
        mtime_ns=-1,
        xattrs={"user.note": b"\0"},
        group=b"a",
        sha256="ab",
        store=(7, 8),
    )

    record = json.loads(encode(entry))

    assert record == {
        "v": 1, "p": "a%25%FF/b%20c", "t": "f", "m": "4755", "u": 33, "g": 34, "size": 5, "mtime": -1,
        "x": {"user.note": "AA=="}, "group": "a", "sha256": "ab", "store": [7, 8],
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"v":2,"p":"a","t":"f","m":"644","u":0,"g":0,"size":0,"mtime":0}',
        '{"v":1,"p":"a","t":"x","m":"644","u":0,"g":0,"size":0,"mtime":0}',
        '{"v":1,"p":"a","t":"f","m":"998","u":0,"g":0,"size":0,"mtime":0}',
        '{"v":1,"p":"a","t":"f","m":"644","u":0,"g":0,"size":0,"mtime":0,"x":{"user.a":"*"}}',
        '{"v":1,"p":"a","t":"c","m":"644","u":0,"g":0,"size":0,"mtime":0,"rdev":[1]}',
    ],
)
def test_a_line_that_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a record of a manifest"):
        decode(line)


@pytest.mark.parametrize(("munged", "nonce"), [(True, "c0de"), (False, "")])
def test_a_header_survives_its_line(munged: bool, nonce: str) -> None:
    header = Header("us0a", "main/2026-11-23/1", "fake-super", munged, nonce)

    assert decode_header(encode_header(header)) == header


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"schema":2,"host":"a","run":"b","tree":"real"}', '{"schema":1}'])
def test_a_header_of_another_schema_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        decode_header(line)
