"""The other functions of this application, called without waiting for them."""

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told


class AwsLambdas:
    """`prefix` and the short name make the deployed name."""

    def __init__(self, clients: Clients, prefix: str) -> None:
        self._clients = clients
        self._prefix = prefix

    def invoke_later(self, function: str, payload: Mapping[str, Any]) -> None:
        with told(f"calling {function} later"):
            self._clients.functions.invoke(
                FunctionName=f"{self._prefix}{function}",
                InvocationType="Event",
                Payload=json.dumps(payload).encode(),
            )
