"""What of a web server's answer proves that it works: a status that leads nowhere else, and a body with an end."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ebbtide_agent.restore import probe
from ebbtide_agent.restore.probe import ask

BODY = b"<html>well</html>"


class _Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        getattr(self, f"get_{self.path.strip('/').partition('/')[0] or 'page'}")()

    def get_page(self) -> None:
        self._say(200, {"Content-Length": str(len(BODY))}, BODY)

    def get_short(self) -> None:
        self._say(200, {"Content-Length": "1000"}, b"<ht")

    def get_cut(self) -> None:
        self._say(200, {"Transfer-Encoding": "chunked"}, b"3\r\n<ht\r\n9\r\nml")

    def get_endless(self) -> None:
        self._say(200, {}, b"data: 1\n" * 4 * probe._A_CHUNK)

    def get_relative(self) -> None:
        self._say(302, {"Location": "page", "Content-Length": "0"})

    def get_absolute(self) -> None:
        self._say(301, {"Location": f"http://{self.headers['Host']}/broken", "Content-Length": "0"})

    def get_circle(self) -> None:
        self._say(307, {"Location": "/circle", "Content-Length": "0"})

    def get_secure(self) -> None:
        self._say(301, {"Location": f"https://{self.headers['Host']}/page", "Content-Length": "0"})

    def get_elsewhere(self) -> None:
        self._say(302, {"Location": "//www.example.org/\x1b[2J", "Content-Length": "0"})

    def get_nowhere(self) -> None:
        self._say(302, {"Content-Length": "0"})

    def get_broken(self) -> None:
        self._say(500, {"Content-Length": "0"})

    def _say(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "said", "ok"),
    [
        ("/", "200 OK", True),
        ("/relative", "200 OK", True),
        ("/absolute", "500 Internal Server Error", False),
        ("/circle", "307 Temporary Redirect: redirects more than 5 times", False),
        ("/nowhere", "302 Found: redirects more than 5 times", False),
        ("/short", "no answer: its body ends 997 bytes too early", False),
        ("/broken", "500 Internal Server Error", False),
    ],
)
def test_an_answer_is_what_is_there_at_last_and_all_of_it(path: str, said: str, ok: bool, service: str) -> None:
    answer = ask(service + path)

    assert (answer.target, answer.answer, answer.ok) == (service + path, said, ok)


def test_a_body_in_pieces_that_breaks_off_is_none(service: str) -> None:
    answer = ask(f"{service}/cut")

    assert (answer.ok, answer.answer.startswith("no answer: ")) == (False, True)


@pytest.mark.parametrize(
    ("path", "where"), [("/secure", "https://127.0.0.1:"), ("/elsewhere", "http://www.example.org/")]
)
def test_who_sends_its_caller_elsewhere_has_not_proved_what_is_there(path: str, where: str, service: str) -> None:
    answer = ask(service + path)

    assert not answer.ok
    assert f": redirects to {where}" in answer.answer
    assert answer.answer.endswith(": ask that instead")
    assert answer.answer.isprintable()


def test_a_body_without_an_end_is_read_as_far_as_anybody_wants_to_or_has_time_for(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_ENOUGH_BYTES", probe._A_CHUNK)
    enough = ask(f"{service}/endless")
    monkeypatch.setattr(probe, "_ENOUGH_BYTES", 1 << 40)
    monkeypatch.setattr(probe, "_BODY_SECONDS", 0.0)
    slow = ask(f"{service}/endless")

    assert enough.ok
    assert slow.answer == "no answer: its body has no end within 0 s"
