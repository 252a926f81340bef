"""Whoever listens in this account: EventBridge's default bus."""

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told
from chalicelib.errors import TransientError

# No machine of ours may say so (`ebbtide.recovery`, `ebbtide.receiver.…`), and no rule of ours listens to it.
SOURCE = "ebbtide"


class EventBus:
    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def send(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        with told(f"sending event {detail_type!r}"):
            answer = self._clients.events.put_events(
                Entries=[{"Source": SOURCE, "DetailType": detail_type, "Detail": json.dumps(detail)}]
            )
        if answer["FailedEntryCount"]:
            raise TransientError(f"event {detail_type!r} was not taken: {answer['Entries'][0].get('ErrorCode')}")
