"""The environment made into the world: the only module that knows which implementation stands behind a port."""

import os
from datetime import UTC, datetime
from functools import cache

import boto3

from chalicelib.aws.account import AwsAccount
from chalicelib.aws.address import Route53Address
from chalicelib.aws.alarms import SnsAlarms
from chalicelib.aws.archive import S3Archive
from chalicelib.aws.catalog import DynamoCatalog
from chalicelib.aws.clients import Clients
from chalicelib.aws.copies import Ec2Copies
from chalicelib.aws.lambdas import AwsLambdas
from chalicelib.aws.machines import Ec2Machines
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.errors import ConfigError
from chalicelib.ports import Settings, StackRole, World
from chalicelib.web import HttpsWatch


@cache
def the_world() -> World:
    """One for the life of the process; nothing is asked of AWS before a flow asks."""
    session = boto3.Session()
    clients = Clients(session)
    receiver_group = _setting("EBBTIDE_RECEIVER_GROUP")
    return World(
        machines=Ec2Machines(clients, _setting("EBBTIDE_LAUNCH_TEMPLATE")),
        volumes=EbsVolumes(clients),
        copies=Ec2Copies(clients, str(session.region_name)),
        address=Route53Address(clients, _setting("EBBTIDE_ZONE"), receiver_group),
        archive=S3Archive(clients, _setting("EBBTIDE_BUCKET")),
        catalog=DynamoCatalog(clients, _setting("EBBTIDE_TABLE")),
        account=AwsAccount(clients, str(session.region_name)),
        lambdas=AwsLambdas(clients, _setting("EBBTIDE_FUNCTION_PREFIX")),
        alarms=SnsAlarms(clients, _setting("EBBTIDE_TOPIC_PREFIX")),
        watch=HttpsWatch(),
        settings=Settings(
            receiver_group=receiver_group,
            drill_group=_setting("EBBTIDE_DRILL_GROUP"),
            subnets=tuple(_setting("EBBTIDE_SUBNETS").split(",")),
            bucket=_setting("EBBTIDE_BUCKET"),
            region=str(session.region_name),
            agent=_setting("EBBTIDE_AGENT"),
            role=_role(),
        ),
    )


def the_time() -> datetime:
    return datetime.now(UTC)


def _role() -> StackRole:
    text = _setting("EBBTIDE_ROLE")
    try:
        return StackRole(text)
    except ValueError:
        expected = " or ".join(StackRole)
        raise ConfigError((f"environment: EBBTIDE_ROLE is {text!r}, expected {expected}",)) from None


def _setting(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigError(
            (f"environment: {name} is not set, expected what the deployment's template gives it",)
        ) from None
