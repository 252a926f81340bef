"""The only place that speaks to anyone but AWS: one HTTPS request to the watch from outside."""

import ssl
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from chalicelib.errors import PermanentError, TransientError

_SECONDS = 5.0


class _StayHere(urllib.request.HTTPRedirectHandler):
    """An answer that sends us elsewhere is no success: elsewhere is not what the policy says."""

    def redirect_request(self, *_: Any) -> None:
        return None


class HttpsWatch:
    """`context` decides which certificates are trusted; the machine's own trust without it."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context or ssl.create_default_context()), _StayHere()
        )

    def ping(self, url: str) -> None:
        """Raises PermanentError for what is not HTTPS, TransientError when there was no success within 5 seconds."""
        if not url.startswith("https://"):
            raise PermanentError(f"ping {url}: expected an https address, mend the policy's alarm.ping")
        try:
            with self._opener.open(url, timeout=_SECONDS) as answer:
                status = answer.status
        except (OSError, HTTPException, ValueError) as fault:
            raise TransientError(f"ping {url}: {fault}") from fault
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise TransientError(f"ping {url}: it answered {status}")
