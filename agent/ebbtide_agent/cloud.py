"""The agent's one door to AWS: the archive (S3), parameters (SSM), events (EventBridge); boto3 is imported late."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ebbtide_agent.errors import DeniedError, PermanentError, TransientError

CHUNK = 1 << 20
# An event is a hint, and nobody should wait long for one that does not get through.
ATTEMPTS, ATTEMPTS_AT_AN_EVENT = 6, 2
_METADATA_TIMEOUT_SECONDS = 5
PAUSE_SECONDS = 1.0


class Cloud:
    """AWS as one machine of ours reaches it: boto3's own standard sources say where it is and who we are."""

    def __init__(self, bucket: str, region: str) -> None:
        self._bucket = bucket
        self._region = region
        self._clients: dict[str, Any] = {}
        self._session: Any = None

    def ask_for_credentials_with(self, mark: int) -> None:
        """From here on what asks this machine's metadata service for its role's credentials, now and whenever they run
        out, carries this mark (SO_MARK): others may be refused. Needs CAP_NET_ADMIN once it asks.
        """
        import boto3
        import botocore.session
        from botocore.httpsession import URLLib3Session

        asking: Any = botocore.session.get_session()
        fetcher = asking.get_component("credential_provider").get_provider("iam-role")._role_fetcher
        marked: list[Any] = [(socket.SOL_SOCKET, socket.SO_MARK, mark)]
        # No option of botocore's says how its own questions travel.
        fetcher._session = URLLib3Session(timeout=_METADATA_TIMEOUT_SECONDS, socket_options=marked)
        fetcher._num_attempts = ATTEMPTS
        self._session = boto3.Session(botocore_session=asking)
        self._clients.clear()

    def get(self, key: str) -> bytes:
        """An object of the archive. Raises KeyError when absent."""
        with _told(f"object {key}"):
            try:
                return bytes(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())
            except self._s3.exceptions.NoSuchKey:
                raise KeyError(key) from None

    def read_clock(self, key: str) -> datetime:
        """What time it is where an object is, in whole seconds: S3 dates every answer, a refusal for our clock too."""
        from email.utils import parsedate_to_datetime

        from botocore.exceptions import ClientError

        with _told("the archive's clock"):
            try:
                answer = self._s3.head_object(Bucket=self._bucket, Key=key)
            except ClientError as refusal:
                answer = refusal.response
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    def get_brief(self, key: str, patience: float = 0.0) -> bytes:
        """What this machine is for, once that is there. Raises PermanentError when it is not after so many seconds."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.get(key)
            except (KeyError, DeniedError) as absent:
                if time.monotonic() >= deadline:
                    why = "nobody knows what this machine is for"
                    raise PermanentError(f"brief {key} {is_absent(absent)}: {why}") from None
            time.sleep(PAUSE_SECONDS)

    def download(self, key: str, path: Path) -> None:
        """An object of the archive into a file. Raises KeyError when absent."""
        with _told(f"object {key}"):
            try:
                body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"]
            except self._s3.exceptions.NoSuchKey:
                raise KeyError(key) from None
            with path.open("wb") as file:
                for chunk in body.iter_chunks(CHUNK):
                    file.write(chunk)

    def put_once(self, key: str, body: bytes | Path) -> bool:
        """Write an object, from memory or from a file; False when the key was there already: what was there stays."""
        if isinstance(body, Path):
            with body.open("rb") as file:
                return self._put_once(key, file)
        return self._put_once(key, body)

    def digest(self, key: str) -> str:
        """The SHA-256 of an object, in hex. Raises KeyError when absent."""
        return hashlib.sha256(self.get(key)).hexdigest()

    def get_parameter(self, name: str) -> str:
        """A parameter, decrypted."""
        with _told(f"parameter {name}"):
            answer = self._client("ssm").get_parameter(Name=name, WithDecryption=True)
        return str(answer["Parameter"]["Value"])

    def send_event(self, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Put one event. Raises TransientError when EventBridge took the call but not the event (FailedEntryCount)."""
        entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps({"schema": 1, **detail})}
        with _told(f"event {detail_type!r}"):
            answer = self._client("events").put_events(Entries=[entry])
        if answer.get("FailedEntryCount"):
            refused = answer["Entries"][0]
            raise TransientError(f"event {detail_type!r} was not taken: {refused.get('ErrorCode')}; send it again")

    def _put_once(self, key: str, body: Any) -> bool:
        from botocore.exceptions import ClientError

        with _told(f"object {key}"):
            try:
                self._s3.put_object(Bucket=self._bucket, Key=key, Body=body)
            except ClientError as error:
                if error.response["Error"]["Code"] in ("PreconditionFailed", "412"):
                    return False
                raise
        return True

    @property
    def _s3(self) -> Any:
        return self._client("s3")

    def _client(self, service: str) -> Any:
        """Made when first needed: each costs a good part of a second."""
        if service not in self._clients:
            self._clients[service] = self._new_client(service)
        return self._clients[service]

    def _new_client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        is_hint = service == "events"
        retries: Any = {"mode": "standard", "total_max_attempts": ATTEMPTS_AT_AN_EVENT if is_hint else ATTEMPTS}
        config = Config(retries=retries, connect_timeout=5 if is_hint else 10, read_timeout=10 if is_hint else 60)
        make: Any = (self._session or boto3).client
        client = make(service, region_name=self._region, config=config)
        client.meta.events.register("before-sign.s3.PutObject", _only_if_absent)
        return client


def is_absent(error: Exception) -> str:
    """What to say of an object where `get` or `download` has raised a KeyError or a DeniedError."""
    denied = f", or is kept from this machine ({error})" if isinstance(error, DeniedError) else ""
    return f"is not in the archive{denied}"


def _only_if_absent(request: Any, **_: Any) -> None:
    """Whatever we write, we write once. The header and not the argument: Debian 12's botocore does not know that."""
    request.headers["If-None-Match"] = "*"


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn botocore's errors into ours, saying what it was about. A refusal will be one the next time as well."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "AccessDenied":
            raise DeniedError(f"{what}: {error}") from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        kind = PermanentError if 400 <= status < 500 and status not in (409, 429) else TransientError
        raise kind(f"{what}: {error}") from error
    except BotoCoreError as error:
        raise TransientError(f"{what}: {error}") from error
