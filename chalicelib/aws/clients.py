"""boto3's clients: one session, each client made when it is first needed, because making one takes long."""

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_route53 import Route53Client
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_ssm import SSMClient

_PATIENT = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=30)
_ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=30)


class Clients:
    """Lazy, and each one made once."""

    def __init__(self, session: boto3.Session) -> None:
        self._session = session

    @cached_property
    def ec2(self) -> "EC2Client":
        return self._session.client("ec2", config=_PATIENT)

    @cached_property
    def ec2_once(self) -> "EC2Client":
        """For CreateSnapshot, which has no client token: a retry of the SDK's own would make a second snapshot."""
        return self._session.client("ec2", config=_ONCE)

    @cache  # noqa: B019 - as many as there are regions, for the life of the process
    def ec2_in(self, region: str) -> "EC2Client":
        return self._session.client("ec2", region_name=region, config=_PATIENT)

    @cache  # noqa: B019
    def ec2_once_in(self, region: str) -> "EC2Client":
        """For CopySnapshot, which has no client token either."""
        return self._session.client("ec2", region_name=region, config=_ONCE)

    @cache  # noqa: B019
    def kms_in(self, region: str) -> Any:
        return self._session.client("kms", region_name=region, config=_PATIENT)

    @cache  # noqa: B019
    def quotas_in(self, region: str) -> Any:
        return self._session.client("service-quotas", region_name=region, config=_PATIENT)

    @cached_property
    def ssm(self) -> "SSMClient":
        return self._session.client("ssm", config=_PATIENT)

    @cached_property
    def route53(self) -> "Route53Client":
        return self._session.client("route53", config=_PATIENT)

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        return self._session.client("dynamodb", config=_PATIENT)

    @cached_property
    def s3(self) -> "S3Client":
        return self._session.client("s3", config=_PATIENT)

    @cached_property
    def sns(self) -> "SNSClient":
        return self._session.client("sns", config=_PATIENT)

    @cached_property
    def events(self) -> "EventBridgeClient":
        return self._session.client("events", config=_PATIENT)

    @cached_property
    def functions(self) -> "LambdaClient":
        return self._session.client("lambda", config=_PATIENT)
