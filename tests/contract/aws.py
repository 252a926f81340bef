"""An account of moto's with what a deployment has: table, bucket, zone, group, launch template, functions."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from chalicelib.aws.clients import Clients

REGION = "us-east-1"
PREFIX = "ebbtide-test-"
AN_IMAGE = "ami-12c6146b"


@dataclass(frozen=True)
class Account:
    """The ids of what was furnished."""

    session: boto3.Session
    clients: Clients
    table: str
    bucket: str
    zone: str
    group: str
    subnet: str
    launch_template: str


@contextmanager
def an_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    # More than a thousand, and each has a volume and a snapshot: to make them takes longer than most tests.
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws(config={"lambda": {"use_docker": False}}):
        yield _furnished(boto3.Session(region_name=REGION))


def _furnished(session: boto3.Session) -> Account:
    clients = Clients(session)
    subnet = clients.ec2.describe_subnets()["Subnets"][0]
    group = clients.ec2.create_security_group(GroupName="receivers", Description="x", VpcId=subnet["VpcId"])
    template = clients.ec2.create_launch_template(
        LaunchTemplateName="machines", LaunchTemplateData={"ImageId": AN_IMAGE}
    )
    zone = clients.route53.create_hosted_zone(Name="example.org", CallerReference="1")
    clients.s3.create_bucket(Bucket="ebbtide-archive")
    _a_table(clients, "ebbtide")
    return Account(
        session=session,
        clients=clients,
        table="ebbtide",
        bucket="ebbtide-archive",
        zone=zone["HostedZone"]["Id"].rsplit("/", 1)[-1],
        group=group["GroupId"],
        subnet=subnet["SubnetId"],
        launch_template=template["LaunchTemplate"]["LaunchTemplateId"],
    )


def _a_table(clients: Clients, name: str) -> None:
    clients.dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )


def deploy_functions(account: Account, *short_names: str) -> None:
    """Deployed functions that do nothing: moto only has to know their names."""
    role = account.session.client("iam").create_role(
        RoleName="functions", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []})
    )
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("app.py", Path(__file__).name)
    for short_name in short_names:
        account.clients.functions.create_function(
            FunctionName=f"{PREFIX}{short_name}",
            Runtime="python3.13",
            Role=role["Role"]["Arn"],
            Handler=f"app.{short_name}",
            Code={"ZipFile": bundle.getvalue()},
        )
