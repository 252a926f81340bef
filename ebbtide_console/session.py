"""The console's only boto3: how it reaches the functions of the control plane."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import PermanentError, TransientError

PREFIX = "ebbtide-dev-"
LONGEST_LAMBDA_SECONDS = 900
# What boto3 knows of AWS's services: to read it takes a third of a second, and every session of this process, those of
# the functions and of moto included, would do it again.
botocore.session.create_loader = cache(botocore.session.create_loader)


def invoke(function: str, payload: Mapping[str, Any], region: str | None = None) -> dict[str, Any]:
    """Invoke a function of the control plane by its short name and return its answer; default: the profile's region.

    Raises TransientError when AWS cannot be reached, PermanentError when the function failed.
    """
    config = Config(read_timeout=LONGEST_LAMBDA_SECONDS, retries={"total_max_attempts": 1})
    try:
        client = boto3.Session(region_name=region).client("lambda", config=config)
        answer = client.invoke(FunctionName=PREFIX + function, Payload=json.dumps(payload).encode())
    except (BotoCoreError, ClientError) as error:
        raise TransientError(
            f"function {PREFIX + function} could not be invoked: {error}; check the AWS profile, region and endpoint"
        ) from error
    result: Any = json.loads(answer["Payload"].read() or b"null")
    if "FunctionError" in answer:
        message = result.get("errorMessage", result) if isinstance(result, dict) else result
        raise PermanentError(f"function {PREFIX + function} failed: {message}")
    return dict(result or {})


def sandbox_client(service: str, endpoint: str, region: str) -> Any:
    """A client of the sandbox's own API. Any credentials do there; the operator's are never sent."""
    here = boto3.Session(aws_access_key_id="sandbox", aws_secret_access_key="sandbox", region_name=region)
    return here.client(service, endpoint_url=endpoint)  # type: ignore[call-overload]
