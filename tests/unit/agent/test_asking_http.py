"""What of a web server's answer proves that it works: a status that leads nowhere else, and a body with an end."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ebbtide_agent.restore import probe
from ebbtide_agent.restore.probe import ask

BODY = b"<html>well</html>"


NAME = "www.example.org"


class _Server(ThreadingHTTPServer):
    """At an address of this machine, which may redirect to wherever is said."""

    elsewhere = ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Service(BaseHTTPRequestHandler):
    server: _Server
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

    def get_named(self) -> None:
        self._say(301, {"Location": self.server.elsewhere, "Content-Length": "0"})

    def get_file(self) -> None:
        self._say(302, {"Location": "ftp://www.example.org/\x1b[2J", "Content-Length": "0"})

    def get_farther(self) -> None:
        self._say(302, {"Location": f"{self.path}/farther", "Content-Length": "0"})

    def get_virtual(self) -> None:
        is_asked_by_name = self.headers["Host"] == f"{NAME}:{self.server.server_port}"
        self._say(200 if is_asked_by_name else 421, {"Content-Length": "0"})

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


@contextmanager
def serving(tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[_Server]:
    with _Server((address, 0), _Service) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    with serving() as begun:
        yield begun


@pytest.fixture
def service(server: _Server) -> str:
    return f"http://{server.address}"


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """Of a certificate that nobody has any reason to trust."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=nobody", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize(
    ("path", "said", "ok"),
    [
        ("/", "200 OK", True),
        ("/relative", "200 OK at {service}/page", True),
        ("/absolute", "500 Internal Server Error at {service}/broken", False),
        ("/circle", "307 Temporary Redirect: redirects to {service}/circle again", False),
        ("/nowhere", "302 Found: redirects to {service}/nowhere again", False),
        ("/file", "302 Found: redirects to ftp://www.example.org/\\x1b[2J, which is neither http nor https", False),
        ("/short", "no answer: its body ends 997 bytes too early", False),
        ("/broken", "500 Internal Server Error", False),
    ],
)
def test_an_answer_is_what_is_there_at_last_and_all_of_it(path: str, said: str, ok: bool, service: str) -> None:
    answer = ask(service + path)

    assert (answer.target, answer.answer, answer.ok) == (service + path, said.format(service=service), ok)


def test_a_body_in_pieces_that_breaks_off_is_none(service: str) -> None:
    answer = ask(f"{service}/cut")

    assert (answer.ok, answer.answer.startswith("no answer: ")) == (False, True)


def test_who_leads_ever_farther_is_not_followed_for_ever(service: str) -> None:
    answer = ask(f"{service}/farther")

    assert not answer.ok
    assert ": redirects to " in answer.answer
    assert ", after 5 others at " in answer.answer


def test_a_name_that_it_leads_to_is_asked_of_the_address_that_was_asked(server: _Server, service: str) -> None:
    server.elsewhere = f"http://{NAME}:{server.server_port}/virtual"

    answer = ask(f"{service}/named")

    assert (answer.target, answer.answer) == (f"{service}/named", f"200 OK at {server.elsewhere}")
    assert answer.ok


def test_what_it_leads_to_over_tls_is_asked_by_name_and_of_the_same_address(
    server: _Server, service: str, tls: ssl.SSLContext
) -> None:
    names: list[str | None] = []
    tls.sni_callback = lambda _, name, __: names.append(name)
    with serving(tls) as secure:
        server.elsewhere = f"https://{NAME}:{secure.server_port}/virtual"

        answer = ask(f"{service}/named")

    assert (answer.answer, answer.ok) == (f"200 OK at {server.elsewhere}", True)
    assert names == [NAME]


def test_another_machine_is_never_asked_whatever_it_leads_to(server: _Server, service: str) -> None:
    with serving(address="127.0.0.2") as other:
        server.elsewhere = f"http://127.0.0.2:{other.server_port}/page"

        answer = ask(f"{service}/named")

    assert not answer.ok
    assert answer.answer.startswith("no answer: ")
    assert answer.answer.endswith(f" at {server.elsewhere}")


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
