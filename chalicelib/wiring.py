"""The environment made into the world: the only module that knows which implementation stands behind a port."""

import os
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, partial

import boto3

from chalicelib.aws.account import AwsAccount
from chalicelib.aws.address import Route53Address
from chalicelib.aws.alarms import SnsAlarms
from chalicelib.aws.archive import S3Archive
from chalicelib.aws.bus import EventBus
from chalicelib.aws.catalog import DynamoCatalog
from chalicelib.aws.clients import Clients
from chalicelib.aws.copies import Ec2Copies
from chalicelib.aws.entrances import Ec2Entrances
from chalicelib.aws.lambdas import AwsLambdas
from chalicelib.aws.machines import Ec2Machines
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.core.locking import LONGEST_LOCK
from chalicelib.core.retention import Rules
from chalicelib.errors import ConfigError
from chalicelib.ports import Settings, StackRole, World
from chalicelib.web import HttpsWatch

# What the template says of a parameter that was left out.
_NONE = "none"


@cache
def the_world() -> World:
    """One for the life of the process; nothing is asked of AWS before a flow asks."""
    return world_of(os.environ)


def world_of(environment: Mapping[str, str]) -> World:
    """What a function with this environment has before it. Raises ConfigError for what the template did not give it."""
    setting = partial(_setting, environment)
    region = setting("AWS_REGION")
    clients = Clients(boto3.Session(region_name=region))
    receiver_group = setting("EBBTIDE_RECEIVER_GROUP")
    return World(
        machines=Ec2Machines(clients, setting("EBBTIDE_LAUNCH_TEMPLATE")),
        volumes=EbsVolumes(clients),
        copies=Ec2Copies(clients, region),
        address=Route53Address(clients, setting("EBBTIDE_ZONE"), receiver_group),
        entrances=Ec2Entrances(clients, setting("EBBTIDE_RESTORE_GROUP")),
        archive=S3Archive(clients, setting("EBBTIDE_BUCKET")),
        receipts=S3Archive(clients, setting("EBBTIDE_RECEIPTS")),
        catalog=DynamoCatalog(clients, setting("EBBTIDE_TABLE")),
        account=AwsAccount(clients, region),
        lambdas=AwsLambdas(clients, setting("EBBTIDE_FUNCTION_PREFIX")),
        alarms=SnsAlarms(clients, setting("EBBTIDE_TOPIC_PREFIX")),
        watch=HttpsWatch(),
        bus=EventBus(clients),
        new_nonce=new_nonce,
        settings=Settings(
            receiver_group=receiver_group,
            drill_group=setting("EBBTIDE_DRILL_GROUP"),
            restore_group=setting("EBBTIDE_RESTORE_GROUP"),
            subnets=tuple(setting("EBBTIDE_SUBNETS").split(",")),
            bucket=setting("EBBTIDE_BUCKET"),
            region=region,
            agent=setting("EBBTIDE_AGENT"),
            other_template=setting("EBBTIDE_OTHER_LAUNCH_TEMPLATE"),
            image_profile=setting("EBBTIDE_IMAGE_PROFILE"),
            role=_role(setting("EBBTIDE_ROLE")),
            vault_account=_maybe(setting("EBBTIDE_VAULT_ACCOUNT")),
            primary_account=_primary_account(setting),
            keep_at_least=_rules("EBBTIDE_KEEP_AT_LEAST", setting("EBBTIDE_KEEP_AT_LEAST")),
            lock_days=_lock_days("EBBTIDE_LOCK_DAYS", setting("EBBTIDE_LOCK_DAYS")),
        ),
    )


def new_nonce() -> str:
    """What nobody can guess."""
    return secrets.token_hex(16)


def the_time() -> datetime:
    return datetime.now(UTC)


def _role(text: str) -> StackRole:
    try:
        return StackRole(text)
    except ValueError:
        expected = " or ".join(StackRole)
        raise ConfigError((f"environment: EBBTIDE_ROLE is {text!r}, expected {expected}",)) from None


def _primary_account(setting: Callable[[str], str]) -> str | None:
    account, receipts = _maybe(setting("EBBTIDE_PRIMARY_ACCOUNT")), _maybe(setting("EBBTIDE_RECEIPTS"))
    if setting("EBBTIDE_ROLE") == StackRole.VAULT and not (account and receipts):
        raise ConfigError(("environment: EBBTIDE_ROLE is 'vault', expected PrimaryAccount and PrimaryArchive as well",))
    return account


def _maybe(text: str) -> str | None:
    return None if text == _NONE else text


def _rules(name: str, text: str) -> Rules:
    counts = [each.partition("=") for each in text.split()]
    try:
        return Rules(**{rule: int(count) for rule, _, count in counts})
    except (TypeError, ValueError):
        raise ConfigError((f"environment: {name} is {text!r}, expected rules like daily=7 weekly=4",)) from None


def _lock_days(name: str, text: str) -> int:
    if not (text.isdecimal() and int(text) <= LONGEST_LOCK):
        raise ConfigError((f"environment: {name} is {text!r}, expected days, 0 to {LONGEST_LOCK}",))
    return int(text)


def _setting(environment: Mapping[str, str], name: str) -> str:
    try:
        return environment[name]
    except KeyError:
        raise ConfigError(
            (f"environment: {name} is not set, expected what the deployment's template gives it",)
        ) from None
