"""The watch from outside is asked over HTTPS, briefly, and whatever it does raises nothing but our own errors."""

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib import web
from chalicelib.errors import PermanentError, TransientError
from chalicelib.web import HttpsWatch

HOST = "127.0.0.1"


class _Handler(BaseHTTPRequestHandler):
    """Answers with the status that the path names; a redirect leads to /200."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "/200")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Site:
    """An HTTPS server on localhost; `trust` knows its certificate."""

    def __init__(self, folder: Path) -> None:
        certificate = folder / "site.pem"
        certificate.write_bytes(_a_certificate())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.trust = ssl.create_default_context(cafile=str(certificate))
        self.server = HTTPServer((HOST, 0), _Handler)
        self.server.asked = []  # type: ignore[attr-defined]
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def asked(self) -> list[str]:
        return list(self.server.asked)  # type: ignore[attr-defined]

    def url(self, status: int) -> str:
        return f"https://{HOST}:{self.server.server_port}/{status}"


def _a_certificate() -> bytes:
    """A key and its self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(pem)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.server.shutdown()
    site.server.server_close()


def test_a_ping_is_one_request(site: Site) -> None:
    HttpsWatch(site.trust).ping(site.url(200))

    assert site.asked == ["/200"]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_no_success_may_work_next_time(site: Site, status: int) -> None:
    with pytest.raises(TransientError, match=str(status)):
        HttpsWatch(site.trust).ping(site.url(status))

    assert site.asked == [f"/{status}"]


def test_a_stranger_with_a_certificate_of_his_own_is_not_asked(site: Site) -> None:
    with pytest.raises(TransientError, match="certificate"):
        HttpsWatch().ping(site.url(200))

    assert site.asked == []


def test_nobody_at_home_may_work_next_time() -> None:
    with pytest.raises(TransientError, match="ping https://127"):
        HttpsWatch().ping(f"https://{HOST}:1/")


def test_someone_who_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_SECONDS", 0.2)
    with HTTPServer((HOST, 0), _Handler) as silent, pytest.raises(TransientError, match="timed out"):
        HttpsWatch().ping(f"https://{HOST}:{silent.server_port}/200")


@pytest.mark.parametrize("url", ["http://example.org/", "file:///etc/passwd", "ftp://example.org/"])
def test_only_https_is_asked(url: str) -> None:
    with pytest.raises(PermanentError, match="expected an https address"):
        HttpsWatch().ping(url)


def test_an_address_that_is_none_is_a_fault_of_ours() -> None:
    with pytest.raises(TransientError):
        HttpsWatch().ping("https://[")
