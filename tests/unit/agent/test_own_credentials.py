"""The credentials of a machine's role, asked for by marked packets: not once, but whenever they run out."""

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ebbtide_agent.cloud import Cloud

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="to mark a packet needs CAP_NET_ADMIN")


class Metadata(BaseHTTPRequestHandler):
    """Gives other keys to each who asks."""

    given = 0

    def do_PUT(self) -> None:
        self._say("a token")

    def do_GET(self) -> None:
        if not self.path.endswith("/a-role"):
            self._say("a-role")
            return
        Metadata.given += 1
        until = datetime.now(UTC) + timedelta(hours=6)
        self._say(
            f'{{"AccessKeyId": "key-{self.given}", "SecretAccessKey": "s", "Token": "t", '
            f'"Expiration": "{until:%Y-%m-%dT%H:%M:%SZ}"}}'
        )

    def _say(self, what: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(what.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    serving = HTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{serving.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    yield
    serving.shutdown()
    serving.server_close()


def test_they_are_asked_for_again_when_they_run_out(metadata: None) -> None:
    cloud = Cloud("archive", "us-east-1")
    cloud.ask_for_credentials_with(7)
    held = cloud._session.get_credentials()

    first = held.get_frozen_credentials().access_key
    unchanged = held.get_frozen_credentials().access_key
    held._expiry_time = datetime.now(UTC)
    renewed = held.get_frozen_credentials().access_key

    assert (first, unchanged, renewed) == ("key-1", "key-1", "key-2")
