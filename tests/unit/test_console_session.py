"""How the console tells that a region is out: soon, and where it goes on."""

import socket
from collections.abc import Iterator

import pytest

from chalicelib.errors import TransientError
from ebbtide_console import session


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A region that takes every connection and answers none of them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listening.getsockname()[1]}",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(session, "ANSWERS_WITHIN_SECONDS", 0.05)
        yield listening


def how_often_asked(listening: socket.socket) -> int:
    asked = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return asked
        asked += 1


def test_a_region_that_does_not_answer_is_given_up_soon_and_told_with_where_it_goes_on(silence: socket.socket) -> None:
    with pytest.raises(TransientError, match=r"asking AWS in eu-west-1 .* is out, docs/restore\.md goes on: no answer"):
        session.the_account()

    assert how_often_asked(silence) == 2


def test_so_is_a_function_that_cannot_be_reached(silence: socket.socket) -> None:
    silence.close()

    with pytest.raises(TransientError, match=r"ebbtide-dev-restore could not be invoked: .*docs/restore\.md goes on"):
        session.invoke("restore", {})
