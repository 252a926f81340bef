"""The console's only boto3: how it reaches the functions of the control plane, and reads what they have left."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.archive import S3Archive
from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.errors import PermanentError, TransientError
from chalicelib.ports import Archive, Volumes

PREFIX = "ebbtide-dev-"
# As the template names it, so that it is found without the stack, and without asking for more rights.
ARCHIVE = PREFIX + "archive-{account}-{region}"
LONGEST_LAMBDA_SECONDS = 900
# Whoever sits before it wants to know within seconds that a region is out.
ANSWERS_WITHIN_SECONDS = 10
IF_IT_IS_OUT = "check the AWS profile, region and endpoint; where that region is out, docs/restore.md goes on"
# What boto3 knows of AWS's services: to read it takes a third of a second, and every session of this process, those of
# the functions and of moto included, would do it again.
botocore.session.create_loader = cache(botocore.session.create_loader)


def invoke(function: str, payload: Mapping[str, Any], region: str | None = None) -> dict[str, Any]:
    """Invoke a function of the control plane by its short name and return its answer; default: the profile's region.

    Raises TransientError when AWS cannot be reached, PermanentError when the function failed.
    """
    config = Config(
        connect_timeout=ANSWERS_WITHIN_SECONDS, read_timeout=LONGEST_LAMBDA_SECONDS, retries={"total_max_attempts": 1}
    )
    try:
        client = boto3.Session(region_name=region).client("lambda", config=config)
        answer = client.invoke(FunctionName=PREFIX + function, Payload=json.dumps(payload).encode())
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"function {PREFIX + function} could not be invoked: {error}; {IF_IT_IS_OUT}") from error
    result: Any = json.loads(answer["Payload"].read() or b"null")
    if "FunctionError" in answer:
        message = result.get("errorMessage", result) if isinstance(result, dict) else result
        raise PermanentError(f"function {PREFIX + function} failed: {message}")
    return dict(result or {})


@dataclass(frozen=True)
class Account:
    """What outlives the stack in one region, as the operator's own rights let it be read."""

    id: str
    region: str
    bucket: str
    archive: Archive
    volumes: Volumes


def the_account(region: str | None = None) -> Account:
    """In that region, by default the profile's. Raises an error of ours when AWS cannot be reached."""
    with told("looking for the AWS profile"):
        session = boto3.Session(region_name=region)
    with told(f"asking AWS in {session.region_name or 'no region'} whose account this is; {IF_IT_IS_OUT}"):
        account = session.client("sts", config=_soon()).get_caller_identity()["Account"]
        clients = Clients(session)
        here = clients.ec2.meta.region_name
    bucket = ARCHIVE.format(account=account, region=here)
    return Account(account, here, bucket, S3Archive(clients, bucket), EbsVolumes(clients))


def _soon() -> Config:
    """Asked twice, for one answer may get lost on the way."""
    return Config(
        connect_timeout=ANSWERS_WITHIN_SECONDS,
        read_timeout=ANSWERS_WITHIN_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
    )


def sandbox_client(service: str, endpoint: str, region: str) -> Any:
    """A client of the sandbox's own API. Any credentials do there; the operator's are never sent."""
    here = boto3.Session(aws_access_key_id="sandbox", aws_secret_access_key="sandbox", region_name=region)
    return here.client(service, endpoint_url=endpoint)  # type: ignore[call-overload]
