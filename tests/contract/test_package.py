"""The template that would be deployed: accepted by cfn-lint, least privilege, and real enough for the sandbox."""

import base64
import json
import re
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from chalicelib import wire
from chalicelib.aws.bus import SOURCE
from chalicelib.core import tags, userdata
from chalicelib.core.ids import own_host, parse_run
from chalicelib.core.measures import Name
from chalicelib.core.model import RecoveryId, Way
from chalicelib.core.naming import RecoveryRequest
from chalicelib.core.night import GRACE
from chalicelib.core.tags import Role
from chalicelib.errors import PermanentError
from chalicelib.flows.open_recovery import open_drill, open_restore
from chalicelib.flows.recover import recover
from chalicelib.ports import World
from chalicelib.wiring import world_of
from ebbtide_agent import volume
from ebbtide_agent.receiver import release
from ebbtide_console.sandbox.account import host_key, prepare
from ebbtide_console.sandbox.deploy import PASSED_OVER, UNKNOWN_TYPES, Deployment, deploy
from ebbtide_console.session import sandbox_client
from tests.builders import A_NONCE, A_POLICY_TEXT, a_point
from tests.fakes import FakeLambdas
from tools import package

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
RULES = {
    "tick": {"schedule": "rate(5 minutes)"},
    "sweep": {"schedule": "rate(1 hour)"},
    "preflight": {"schedule": "cron(0 12 * * ? *)"},
    "on_report": {"source": [{"prefix": "ebbtide."}]},
    "on_instance_state": {"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]},
    "on_snapshot_state": {"source": ["aws.ec2"], "detail-type": ["EBS Snapshot Notification"]},
}

# Why a statement may name every resource, by its Sid.
EVERY_RESOURCE = {
    "DescribeTakesNoResource": "EC2's describe calls know no resource to restrict them to",
    "LimitsTakeNoResource": "neither do the account's default key and its quotas",
}

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: all inline policies of a role together
LARGEST_ROLE_POLICY = 10_240

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html: before it is encoded
LARGEST_USER_DATA = 16 * 1024


@pytest.fixture(scope="module")
def template() -> package.Template:
    return package.build_template()


def test_what_makes_it_writes_nothing_to_a_terminal() -> None:
    """Chalice's command line brings a library along that asks the terminal what it can do as soon as it is imported."""
    look = "import sys, tools.package; tools.package.build_template(); print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'agent'}"}, stdout=subprocess.PIPE,
        text=True, check=True,
    ).stdout.split()  # fmt: skip

    assert "chalice.config" in loaded
    assert not {"chalice.cli", "inquirer", "blessed"} & set(loaded)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    yield url
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
    server.stop()


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def deployed(endpoint: str, template: package.Template, told: list[str]) -> Deployment:
    account = prepare(endpoint, "10.77.0.0/24", "backup.example.org", REGION)
    return deploy(endpoint, template, account.parameters, REGION, tell=told.append)


def resources_of(template: package.Template, kind: str) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == kind}


def functions_of(template: package.Template) -> dict[str, Any]:
    """Properties by the short name, which is the handler's."""
    functions = resources_of(template, "AWS::Serverless::Function").values()
    return {properties["Handler"].removeprefix("app."): properties for properties in functions}


def role_policy(template: package.Template, role: str) -> dict[str, Any]:
    [policy] = template["Resources"][role]["Properties"]["Policies"]
    document: dict[str, Any] = policy["PolicyDocument"]
    return document


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def linted(template: Path) -> list[str]:
    """What cfn-lint has against it. Its import takes seconds, of every worker that looks for tests in here."""
    from cfnlint.api import lint_file  # type: ignore[import-untyped]

    return [str(match) for match in lint_file(template)]


def test_cfn_lint_accepts_the_template(template: package.Template, tmp_path: Path) -> None:
    package.write(template, tmp_path)

    assert linted(tmp_path / "sam.json") == []


def test_cfn_lint_would_refuse_a_template_with_a_fault(template: package.Template, tmp_path: Path) -> None:
    tables = {name: each for name, each in template["Resources"].items() if each["Type"] == "AWS::DynamoDB::Table"}
    faulty = json.dumps({**template, "Resources": tables}).replace("PAY_PER_REQUEST", "PAY_PER_NIGHT")
    package.write(json.loads(faulty), tmp_path)

    assert [match for match in linted(tmp_path / "sam.json") if "PAY_PER_NIGHT" in match]


def test_every_function_has_its_own_policy_file(template: package.Template) -> None:
    functions = functions_of(template)
    files = {path.stem.removeprefix("policy-"): json.loads(path.read_text()) for path in policy_files()}

    roles = {short: properties["Role"]["Fn::GetAtt"][0] for short, properties in functions.items()}

    assert len(set(roles.values())) == len(roles)
    assert {short: role_policy(template, role) for short, role in roles.items()} == files


def policy_files() -> list[Path]:
    return sorted((ROOT / ".chalice").glob("policy-*.json"))


# What a machine asks for, a key of each kind: boot, gate and ledger of the receiver, and the gate of an opened point.
MACHINES_ASK = [
    ("s3:GetObject", "agent/ebbtide-agent.pyz"),
    ("s3:GetObject", "runs/main/2026-11-23/1/brief.json"),
    ("s3:GetObject", f"reports/main/2026-11-23/1/{A_NONCE}/hosts/us0a.json"),
    ("s3:GetObject", f"manifests/us0a/main/2026-11-23/1/{A_NONCE}.jsonl.gz"),
    ("s3:GetObject", "recoveries/us0a/2026-11-23/1/brief.json"),
    ("s3:PutObject", f"reports/main/2026-11-23/1/{A_NONCE}/words/ready/1.json"),
    ("s3:PutObject", f"reports/main/2026-11-23/1/{A_NONCE}/hosts/us0a.json"),
    ("s3:PutObject", f"manifests/us0a/main/2026-11-23/1/{A_NONCE}.2.jsonl.gz"),
    ("s3:PutObject", "recoveries/us0a/2026-11-23/1/opened.json"),
    ("s3:PutObject", "recoveries/us0a/2026-11-23/1/unopened.json"),
]
# And one that starts an image of a server's: the session of a drill or a restore.
IMAGES_ASK = [
    ("s3:GetObject", "agent/ebbtide-agent.pyz"),
    ("s3:GetObject", f"recoveries/us0a/2026-11-23/1/{A_NONCE}/brief.json"),
    ("s3:GetObject", f"recoveries/us0a/2026-11-23/1/{A_NONCE}/2/brief.json"),
    ("s3:GetObject", f"manifests/us0a/main/2026-11-23/1/{A_NONCE}.jsonl.gz"),
    ("s3:PutObject", f"recoveries/us0a/2026-11-23/1/{A_NONCE}/begun/2.json"),
    ("s3:PutObject", f"recoveries/us0a/2026-11-23/1/{A_NONCE}/begun/2/mount.json"),
    ("s3:PutObject", f"recoveries/us0a/2026-11-23/1/{A_NONCE}/found.jsonl.gz"),
    ("s3:PutObject", f"recoveries/us0a/2026-11-23/1/{A_NONCE}/standing.json"),
    ("s3:PutObject", f"recoveries/us0a/2026-11-23/1/{A_NONCE}/off.json"),
    ("s3:PutObject", f"recoveries/us0a/2026-11-23/1/{A_NONCE}/report.json"),
    # What an earlier version has launched.
    ("s3:GetObject", "recoveries/us0a/2026-11-23/1/brief.json"),
    ("s3:PutObject", "recoveries/us0a/2026-11-23/1/report.json"),
]
MACHINES_MUST_NOT = [
    # It says the nonces of drills and restores.
    ("s3:GetObject", "recoveries/us0a/2026-11-23/1/asked.json"),
    ("s3:PutObject", "recoveries/us0a/2026-11-23/1/asked.json"),
    ("s3:PutObject", "runs/main/2026-11-23/1/brief.json"),
    ("s3:PutObject", "runs/main/2026-11-23/1/closed.json"),
    ("s3:PutObject", "runs/main/2026-11-23/1/ready/1.json"),
    ("s3:PutObject", "recoveries/us0a/2026-11-23/1/brief.json"),
    ("s3:PutObject", "recoveries/us0a/2026-11-23/1/2/brief.json"),
    ("s3:PutObject", "recoveries/us0a/2026-11-23/1/closed.json"),
    ("s3:PutObject", "policies/000002.toml"),
    ("s3:PutObject", "agent/ebbtide-agent.pyz"),
    ("s3:DeleteObject", "reports/main/2026-11-23/1/us0a.json"),
    ("s3:PutObject", "recoveries/us0a/2026-11-23/1/report.json"),
]


def may(template: package.Template, role: str, action: str, key: str) -> bool:
    return any(
        action in as_list(statement["Action"])
        and any(
            fnmatchcase(f"${{Archive.Arn}}/{key}", resource.get("Fn::Sub", ""))
            for resource in as_list(statement["Resource"])
        )
        for statement in role_policy(template, role)["Statement"]
    )


@pytest.mark.attack("write a brief, a policy or the agent; delete a report", row="X6", outcome="its role may not")
@pytest.mark.fault("X6", lacks="reports and manifests of one host kept from who has the machine of another")
def test_a_machine_may_what_its_agent_asks_for_and_no_more(template: package.Template) -> None:
    refused = [asked for asked in MACHINES_ASK if not may(template, "MachineRole", *asked)]
    allowed = [asked for asked in MACHINES_MUST_NOT if may(template, "MachineRole", *asked)]

    assert (refused, allowed) == ([], [])


def test_where_runs_are_listed_to_the_end_no_machine_may_write(template: package.Template) -> None:
    written = [
        resource["Fn::Sub"]
        for role in ("MachineRole", "ImageRole")
        for statement in role_policy(template, role)["Statement"]
        if "s3:PutObject" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]

    assert {key.removeprefix("${Archive.Arn}/").partition("/")[0] for key in written} == {
        "manifests",
        "recoveries",
        "reports",
    }


@pytest.mark.attack(
    "with the role of the machine that an image is tried on: read reports and host keys, forge a night, open a point",
    row="X8",
    outcome="its role may not",
)
@pytest.mark.fault("X8")
def test_what_breaks_out_of_an_image_finds_a_role_that_proves_and_nothing_else(template: package.Template) -> None:
    statements = role_policy(template, "ImageRole")["Statement"]
    (events,) = (each for each in statements if "events:PutEvents" in as_list(each["Action"]))
    # That of a receiver and of an opened point, but for what a report of a drill is made of.
    of_others = [asked for asked in (*MACHINES_ASK, *MACHINES_MUST_NOT) if asked not in IMAGES_ASK]

    refused = [asked for asked in IMAGES_ASK if not may(template, "ImageRole", *asked)]
    allowed = [asked for asked in of_others if may(template, "ImageRole", *asked)]

    assert (refused, allowed) == ([], [])
    assert {action for each in statements for action in as_list(each["Action"])} == {
        "s3:GetObject", "s3:PutObject", "events:PutEvents"
    }  # fmt: skip
    assert events["Condition"] == {"StringEquals": {"events:source": "ebbtide.recovery"}}


@pytest.mark.attack(
    "launch, delete or change a snapshot; read the catalogue, or a parameter that is no host key",
    row="X6",
    outcome="its role may not",
)
@pytest.mark.fault("X6")
def test_a_machines_role_knows_the_archive_the_host_keys_and_its_own_events(template: package.Template) -> None:
    statements = role_policy(template, "MachineRole")["Statement"]

    actions = {action for statement in statements for action in as_list(statement["Action"])}
    (events,) = (each for each in statements if "events:PutEvents" in as_list(each["Action"]))

    assert actions == {"s3:GetObject", "s3:ListBucket", "s3:PutObject", "ssm:GetParameter", "events:PutEvents"}
    (parameters,) = (each for each in statements if "ssm:GetParameter" in as_list(each["Action"]))
    assert events["Condition"] == {"StringLike": {"events:source": ["ebbtide.receiver.*", "ebbtide.recovery"]}}
    assert parameters["Resource"]["Fn::Sub"].partition(":parameter")[2] == wire.host_key_parameter("*")


@pytest.mark.attack("leave the machine that an image is tried on", row="X8", outcome="let out to the archive alone")
@pytest.mark.fault("X8")
def test_a_restored_image_gets_out_to_the_archive_and_nowhere_else(template: package.Template) -> None:
    group = template["Resources"]["DrillGroup"]["Properties"]
    condition, archive, nowhere = group["SecurityGroupEgress"][0]["Fn::If"]

    assert [*group] == ["GroupDescription", "VpcId", "SecurityGroupEgress"]
    assert len(group["SecurityGroupEgress"]) == 1
    assert condition == "DrillReachesArchive"
    assert (archive["FromPort"], archive["ToPort"], "CidrIp" in archive) == (443, 443, False)
    assert archive["DestinationPrefixListId"] == {"Ref": "ArchivePrefixList"}
    assert nowhere["CidrIp"] == "127.0.0.1/32"


def test_a_hosts_own_volume_may_be_snapshotted_and_nothing_else(template: package.Template) -> None:
    """It does not carry the tag that lets a function attach, delete or end what is ours."""
    of_hosts = {Role.HOST: json.dumps({"StringEquals": {"aws:ResourceTag/ebbtide:role": "host"}})}
    allowed = {
        action
        for name in resources_of(template, "AWS::IAM::Role")
        for statement in role_policy(template, name)["Statement"]
        for action in as_list(statement["Action"])
        if json.dumps(statement.get("Condition")) == of_hosts[Role.HOST]
    }

    assert allowed == {"ec2:CreateSnapshot"}


def test_a_machine_is_told_that_an_object_is_missing_and_not_that_it_is_denied(template: package.Template) -> None:
    """S3 answers 404 only to who may list the bucket, and GetObject brings no prefix that a condition could ask for."""
    [statement] = [
        s for s in role_policy(template, "MachineRole")["Statement"] if "s3:ListBucket" in as_list(s["Action"])
    ]

    assert statement["Resource"] == {"Fn::GetAtt": ["Archive", "Arn"]}
    assert "Condition" not in statement


def test_no_policy_allows_everything_without_a_written_reason(template: package.Template) -> None:
    statements = [
        (name, statement)
        for name in resources_of(template, "AWS::IAM::Role")
        for statement in role_policy(template, name)["Statement"]
    ]

    wild_actions = [(n, s["Sid"]) for n, s in statements for a in as_list(s["Action"]) if a == "*" or a.endswith(":*")]
    wild_resources = {s["Sid"] for _, s in statements if "*" in as_list(s["Resource"])}
    described = [a for _, s in statements if s["Sid"] == "DescribeTakesNoResource" for a in as_list(s["Action"])]

    assert statements
    assert wild_actions == []
    assert wild_resources == set(EVERY_RESOURCE)
    assert [action for action in described if not action.startswith("ec2:Describe")] == []


def test_a_preflight_may_ask_for_what_a_night_and_a_restore_launch_and_for_nothing_more(
    template: package.Template,
) -> None:
    """The same resources and the same templates; but what it launched would be nobody's, and swept."""
    launched = [asked for role in ("reconcile_run", "recover") for asked in _launches(template, role)]

    tried = _launches(template, "preflight")

    assert {resource for resource, _ in tried} == {resource for resource, _ in launched}
    assert {(resource, arn) for resource, on in tried for arn in _arns(on)} == {
        (resource, arn) for resource, on in launched for arn in _arns(on)
    }
    assert [c["StringEquals"] for r, c in tried if "instance/*" in r] == [{"aws:RequestTag/ebbtide:role": "preflight"}]


def test_who_opens_to_hosts_may_let_them_in_and_shut_out_nobody(template: package.Template) -> None:
    """A night beside it opens the port for its own hosts: only that may close it. Restored servers are its own."""
    role = functions_of(template)["recover"]["Role"]["Fn::GetAtt"][0]
    may = {
        (action, re.findall(r"[a-zA-Z]+Group\b", json.dumps(each["Resource"]))[0])
        for each in role_policy(template, role)["Statement"]
        for action in as_list(each["Action"])
        if action.endswith("SecurityGroupIngress")
    }

    assert may == {
        ("ec2:AuthorizeSecurityGroupIngress", "ReceiverGroup"),
        ("ec2:AuthorizeSecurityGroupIngress", "RestoreGroup"),
        ("ec2:RevokeSecurityGroupIngress", "RestoreGroup"),
    }


def _arns(condition: dict[str, Any]) -> list[str]:
    return [json.dumps(arn) for arns in condition.get("ArnEquals", {}).values() for arn in as_list(arns)]


def _launches(template: package.Template, short: str) -> list[tuple[str, dict[str, Any]]]:
    """Each resource that a function may name in RunInstances, and on which condition."""
    role = functions_of(template)[short]["Role"]["Fn::GetAtt"][0]
    return [
        (json.dumps(resource), statement.get("Condition", {}))
        for statement in role_policy(template, role)["Statement"]
        if "ec2:RunInstances" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]


def test_snapshots_can_be_shared_with_the_vaults_account_and_nobody_else(template: package.Template) -> None:
    roles = {short: f["Role"]["Fn::GetAtt"][0] for short, f in functions_of(template).items()}
    sharing = [
        (short, statement)
        for short, role in roles.items()
        for statement in role_policy(template, role)["Statement"]
        if "ec2:ModifySnapshotAttribute" in as_list(statement["Action"])
    ]

    [(short, statement)] = sharing
    assert (short, statement["Action"]) == ("copy", ["ec2:ModifySnapshotAttribute"])
    assert statement["Condition"] == {
        "StringEquals": {"aws:ResourceTag/ebbtide:role": "backup", "ec2:Add/userId": {"Ref": "VaultAccount"}},
        "Null": {"ec2:Add/group": "true"},
    }


def test_copies_are_locked_by_one_function_for_as_long_as_a_vault_says_and_unlocked_by_none(
    template: package.Template,
) -> None:
    roles = resources_of(template, "AWS::IAM::Role")
    locking = [
        (role, statement)
        for role in roles
        for statement in role_policy(template, role)["Statement"]
        if {"ec2:LockSnapshot", "ec2:UnlockSnapshot", "ec2:*", "*"} & {*as_list(statement["Action"])}
    ]

    [(role, statement)] = locking
    assert role == functions_of(template)["copy"]["Role"]["Fn::GetAtt"][0]
    assert statement["Action"] == ["ec2:LockSnapshot"]
    assert statement["Condition"] == {
        "StringEquals": {"aws:ResourceTag/ebbtide:role": "copy"},
        "NumericLessThanEquals": {
            "ec2:SnapshotLockDuration": {"Fn::If": ["IsVault", {"Ref": "LockDays"}, "0"]},
        },
    }
    assert template["Parameters"]["LockDays"]["Default"] == "0"


def grants_to(parameter: str, template: package.Template) -> dict[str, Any]:
    """The archive's one statement for the account that this parameter names."""
    statements = template["Resources"]["ArchivePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    conditional = [statement["Fn::If"][1] for statement in statements if "Fn::If" in statement]
    [granted] = [statement for statement in conditional if f"${{{parameter}}}" in json.dumps(statement["Principal"])]
    return dict(granted)


def test_a_vault_may_add_its_receipts_to_the_archive_and_read_nothing(template: package.Template) -> None:
    granted = grants_to("VaultAccount", template)

    assert (granted["Effect"], granted["Action"]) == ("Allow", "s3:PutObject")
    assert granted["Resource"] == {"Fn::Sub": "${Archive.Arn}/receipts/${VaultAccount}/*"}


def test_nobody_writes_over_what_is_in_the_archive_not_even_a_vault(template: package.Template) -> None:
    statements = template["Resources"]["ArchivePolicy"]["Properties"]["PolicyDocument"]["Statement"]

    [stays] = [statement for statement in statements if statement.get("Sid") == "WhatIsWrittenStays"]

    assert (stays["Effect"], stays["Principal"], stays["Action"]) == ("Deny", "*", "s3:PutObject")
    assert stays["NotResource"] == {"Fn::Sub": "${Archive.Arn}/agent/*"}


def test_another_account_brings_a_vault_what_it_restores_from_and_nothing_that_would_act_there(
    template: package.Template,
) -> None:
    granted = grants_to("PrimaryAccount", template)
    rules = template["Resources"]["Archive"]["Properties"]["ReplicationConfiguration"]["Fn::If"][1]["Rules"]
    sent = [rule["Fn::If"][1]["Filter"]["Prefix"] for rule in rules if rule["Fn::If"][0] == "HasVaultArchive"]

    brought = [resource["Fn::Sub"].removeprefix("${Archive.Arn}/") for resource in granted["Resource"]]

    assert granted["Action"] == ["s3:ReplicateObject", "s3:ReplicateTags"]
    assert brought == [f"{prefix}*" for prefix in sent]
    assert {*sent}.isdisjoint({"", "agent/", "recoveries/", "receipts/", "forgotten/"})


def test_every_policy_fits_into_a_role(template: package.Template) -> None:
    roles = resources_of(template, "AWS::IAM::Role")

    sizes = {name: len(json.dumps(role_policy(template, name), separators=(",", ":"))) for name in roles}

    assert {name: size for name, size in sizes.items() if size > LARGEST_ROLE_POLICY} == {}


def test_every_variable_the_code_reads_is_in_the_template(template: package.Template) -> None:
    read = set(re.findall(r"\bEBBTIDE_[A-Z_]+\b", (ROOT / "chalicelib" / "wiring.py").read_text()))

    given = template["Globals"]["Function"]["Environment"]["Variables"].keys()

    assert read
    assert read - given == set()


def test_every_function_goes_by_its_short_name_on_a_current_runtime(template: package.Template) -> None:
    functions = functions_of(template)

    told = {short: (f["FunctionName"]["Fn::Sub"], f["Runtime"]) for short, f in functions.items()}

    assert told == {short: (f"${{AWS::StackName}}-{short}", "python3.13") for short in functions}


def test_every_rule_leaves_what_it_could_not_deliver(template: package.Template) -> None:
    events = [e for f in functions_of(template).values() for e in f.get("Events", {}).values()]

    without = [e for e in events if not {"RetryPolicy", "DeadLetterConfig"} <= e["Properties"].keys()]

    assert len(events) == len(RULES)
    assert without == []


def test_what_cannot_be_rebuilt_outlives_the_stack(template: package.Template) -> None:
    state = [template["Resources"][name] for name in ("Table", "Archive")]

    policies = [(resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) for resource in state]

    assert policies == [("Retain", "Retain")] * 2


def statements_of_functions(template: package.Template) -> list[tuple[str, dict[str, Any]]]:
    """Each with the function that it is of."""
    roles = {short: f["Role"]["Fn::GetAtt"][0] for short, f in functions_of(template).items()}
    return [(short, each) for short, role in roles.items() for each in role_policy(template, role)["Statement"]]


@pytest.mark.fault("O5")
def test_no_function_that_restores_may_move_a_name_or_an_address(template: package.Template) -> None:
    operators = {"restore", "drill", "begin_drills", "open_host", "close_host", "recover"}
    moving = {
        (short, action)
        for short, statement in statements_of_functions(template)
        for action in as_list(statement["Action"])
        if action.startswith("route53:Change") or "Address" in action
    }

    assert operators < functions_of(template).keys()
    assert operators.isdisjoint(short for short, _ in moving)
    assert "reconcile_run" in {short for short, _ in moving}


def who_may_call_later(template: package.Template, function: str) -> set[str]:
    return {
        short
        for short, statement in statements_of_functions(template)
        if statement["Sid"] == "CallLater" and f"-{function}" in json.dumps(statement["Resource"])
    }


def test_whoever_may_end_something_may_wake_who_tells(template: package.Template) -> None:
    assert who_may_call_later(template, "tell_operators") == {*RULES, "reconcile_run", "recover", "prune"} - {"sweep"}


def test_whoever_goes_on_with_a_recovery_may_wake_who_tells_how_far_it_is(template: package.Template) -> None:
    woken = {"on_report", "on_instance_state", "on_snapshot_state", "recover"}

    assert who_may_call_later(template, "tell_progress") == woken


def test_one_function_sends_events_and_from_a_source_that_no_machine_or_host_has(template: package.Template) -> None:
    sending = [
        (short, statement)
        for short, statement in statements_of_functions(template)
        if "events:PutEvents" in as_list(statement["Action"])
    ]

    ((short, statement),) = sending
    assert short == "tell_progress"
    assert statement["Condition"] == {"StringEquals": {"events:source": SOURCE}}
    for role in ("MachineRole", "ImageRole"):
        (theirs,) = (
            each for each in role_policy(template, role)["Statement"] if "events:PutEvents" in as_list(each["Action"])
        )
        patterns = [source for named in theirs["Condition"].values() for source in as_list(named["events:source"])]
        assert not [pattern for pattern in patterns if fnmatchcase(SOURCE, pattern)]


def test_what_cloudwatch_watches_goes_to_the_topic_and_what_it_watches_is_sent(template: package.Template) -> None:
    alarms = resources_of(template, "AWS::CloudWatch::Alarm").values()

    ours = {alarm["MetricName"] for alarm in alarms if alarm["Namespace"] == "Ebbtide"}

    assert ours == {"Ticks", "AlarmsUnsent"}
    assert ours <= {name.value for name in Name}
    assert [alarm["AlarmActions"] for alarm in alarms] == [[{"Ref": "AlarmTopic"}]] * len(alarms)


def test_what_is_watched_is_what_this_stack_sends_and_no_other(template: package.Template) -> None:
    """Powertools takes the dimension `service` from this variable."""
    variable, stack = "POWERTOOLS_SERVICE_NAME", {"Ref": "AWS::StackName"}
    ours = [a for a in resources_of(template, "AWS::CloudWatch::Alarm").values() if a["Namespace"] == "Ebbtide"]

    overriding = [f for f in functions_of(template).values() if variable in str(f.get("Environment"))]

    assert template["Globals"]["Function"]["Environment"]["Variables"][variable] == stack
    assert overriding == []
    assert [alarm["Dimensions"] for alarm in ours] == [[{"Name": "service", "Value": stack}]] * len(ours)


@pytest.mark.fault("C6")
def test_a_tick_that_says_nothing_is_an_alarm(template: package.Template) -> None:
    silent = resources_of(template, "AWS::CloudWatch::Alarm")["TickIsSilent"]

    assert (silent["MetricName"], silent["TreatMissingData"]) == ("Ticks", "breaching")


def test_the_dashboard_shows_every_metric_and_no_other(template: package.Template) -> None:
    (dashboard,) = resources_of(template, "AWS::CloudWatch::Dashboard").values()
    body = dashboard["DashboardBody"]["Fn::Sub"]

    shown = set(re.findall(r'MetricName=\\"(\w+)\\"', body)) | set(re.findall(r'\["Ebbtide", "(\w+)"', body))

    assert json.loads(body)["widgets"]
    assert shown == {name.value for name in Name}


def test_the_stack_makes_an_encrypted_topic_that_the_functions_would_find(deployed: Deployment, endpoint: str) -> None:
    sns = sandbox_client("sns", endpoint, REGION)

    arn = deployed.environment["EBBTIDE_TOPIC_PREFIX"] + "alarms"

    topic = sns.get_topic_attributes(TopicArn=arn)
    sent = sns.publish(TopicArn=arn, Subject="Ebbtide: weekly: all is well", Message="-")

    assert topic["Attributes"]["TopicArn"] == deployed.outputs["AlarmTopic"]
    assert topic["Attributes"]["KmsMasterKeyId"]
    assert sent["MessageId"]


def test_the_stack_makes_the_functions_and_resolves_their_environment(
    deployed: Deployment, template: package.Template
) -> None:
    wanted = template["Globals"]["Function"]["Environment"]["Variables"].keys()

    environment = deployed.environment

    assert wanted <= environment.keys()
    assert [name for name, value in environment.items() if not value or "{" in value] == []
    assert environment["EBBTIDE_BUCKET"] == deployed.outputs["Archive"]
    assert re.fullmatch(r"subnet-[0-9a-f]+,subnet-[0-9a-f]+", environment["EBBTIDE_SUBNETS"])
    assert deployed.functions == tuple(
        sorted(environment["EBBTIDE_FUNCTION_PREFIX"] + short for short in functions_of(template))
    )


def test_the_stack_makes_the_table(deployed: Deployment, endpoint: str) -> None:
    dynamodb = sandbox_client("dynamodb", endpoint, REGION)

    table = dynamodb.describe_table(TableName=deployed.environment["EBBTIDE_TABLE"])["Table"]

    assert [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]] == [("pk", "HASH"), ("sk", "RANGE")]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_the_stack_makes_rules_that_point_at_the_functions(deployed: Deployment, endpoint: str) -> None:
    events = sandbox_client("events", endpoint, REGION)
    prefix = deployed.environment["EBBTIDE_FUNCTION_PREFIX"]

    rules: dict[str, Any] = {}
    for rule in events.list_rules()["Rules"]:
        [target] = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        short = target["Arn"].rsplit(":", 1)[1].removeprefix(prefix)
        pattern = rule.get("EventPattern")
        rules[short] = json.loads(pattern) if pattern else {"schedule": rule["ScheduleExpression"]}

    assert rules == RULES


@pytest.mark.attack("ask the metadata service from within the container", row="X8", outcome="one hop, with a token")
@pytest.mark.fault("X8")
def test_a_machine_of_the_template_ends_with_its_power_and_keeps_its_credentials_to_itself(
    deployed: Deployment, endpoint: str
) -> None:
    ec2 = sandbox_client("ec2", endpoint, REGION)
    ids = [deployed.environment[f"EBBTIDE_{which}LAUNCH_TEMPLATE"] for which in ("", "OTHER_")]

    versions = [ec2.describe_launch_template_versions(LaunchTemplateId=each)["LaunchTemplateVersions"] for each in ids]

    machine, other = (version["LaunchTemplateData"] for [version] in versions)
    assert machine["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert machine["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    images = [each.pop("ImageId").rpartition("/") for each in (machine, other)]
    assert [arch for *_, arch in images] == ["arm64", "amd64"]
    assert {where for where, *_ in images} == {"resolve:ssm:/aws/service/debian/release/13/latest"}
    assert other == machine


def test_nobody_may_enter_a_machine_before_a_run_opens_its_group(deployed: Deployment, endpoint: str) -> None:
    ec2 = sandbox_client("ec2", endpoint, REGION)
    ids = [deployed.environment[f"EBBTIDE_{name}_GROUP"] for name in ("RECEIVER", "DRILL", "RESTORE")]

    groups = ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]

    assert [group["IpPermissions"] for group in groups] == [[], [], []]


@pytest.fixture
def world(deployed: Deployment, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """What a function of the stack has before it, with a restore point of us0; nobody is woken."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    world = replace(world_of({**deployed.environment, "AWS_REGION": REGION}), lambdas=FakeLambdas())
    ec2 = sandbox_client("ec2", endpoint, REGION)
    zone = world.machines.zone_of(world.settings.subnets[0])
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    world.catalog.set_policy_version("000001", None)
    world.catalog.record_point(a_point(snapshot_id=snapshot))
    return world


def launched_for(recovery: RecoveryId, world: World, endpoint: str, now: datetime) -> tuple[list[str], str]:
    """The groups of the machine that a recovery has, and its user data."""
    recover(recovery, world, now)
    [machine] = world.machines.find({tags.RECOVERY: str(recovery)})
    ec2 = sandbox_client("ec2", endpoint, REGION)
    [instance] = ec2.describe_instances(InstanceIds=[machine.id])["Reservations"][0]["Instances"]
    told = ec2.describe_instance_attribute(InstanceId=machine.id, Attribute="userData")["UserData"]["Value"]
    return [group["GroupId"] for group in instance["SecurityGroups"]], base64.b64decode(told).decode()


def test_a_drills_machine_lets_nobody_in_and_goes_off_by_itself(
    deployed: Deployment, endpoint: str, world: World
) -> None:
    """Whom its group lets out to, which moto does not know, the template says (above, X8)."""
    now = datetime.now(UTC)

    groups, user_data = launched_for(open_drill("us0", world, now), world, endpoint, now)

    [group] = sandbox_client("ec2", endpoint, REGION).describe_security_groups(GroupIds=groups)["SecurityGroups"]
    assert groups == [deployed.environment["EBBTIDE_DRILL_GROUP"]]
    assert group["IpPermissions"] == []
    assert "POWER_OFF_MINUTES='137'" in user_data  # its volume has 1 GiB
    assert "STOP_MINUTES='15'" in user_data


def test_a_restored_server_is_let_in_to_where_it_was_said_and_a_drill_beside_it_is_not(
    deployed: Deployment, endpoint: str, world: World
) -> None:
    now = datetime.now(UTC)
    request = RecoveryRequest("us0", ports=(80,), networks=("203.0.113.7/32",))

    groups, _ = launched_for(open_restore(request, world, now).id, world, endpoint, now)

    ec2 = sandbox_client("ec2", endpoint, REGION)
    shut = ec2.describe_security_groups(GroupIds=[deployed.environment["EBBTIDE_DRILL_GROUP"]])["SecurityGroups"][0]
    assert groups == [deployed.environment["EBBTIDE_RESTORE_GROUP"]]
    assert world.entrances.ways() == {Way(22, "203.0.113.7/32"), Way(80, "203.0.113.7/32")}
    assert shut["IpPermissions"] == []


def test_a_host_key_is_made_once(endpoint: str) -> None:
    first = host_key(endpoint, "main", REGION)

    again = host_key(endpoint, "main", REGION)

    assert first.startswith("ssh-ed25519 ")
    assert again == first


def test_what_the_sandbox_goes_without_is_told(deployed: Deployment, told: list[str]) -> None:
    kinds = [*UNKNOWN_TYPES, *PASSED_OVER]

    untold = [kind for kind in kinds if not any(kind in line for line in told)]

    assert untold == []


def test_a_stack_that_cannot_be_made_says_why(deployed: Deployment, endpoint: str, template: package.Template) -> None:
    parameters = {"VpcId": "vpc-0", "SubnetIds": "subnet-0", "HostedZoneId": "Z0"}

    with pytest.raises(PermanentError, match="already exists"):
        deploy(endpoint, template, parameters, REGION, tell=lambda line: None)


def test_a_template_that_is_not_valid_is_refused_by_name(template: package.Template) -> None:
    broken = template | {"Globals": {"Functions": {}}}

    with pytest.raises(PermanentError, match=r"resources\.yaml"):
        deploy("http://127.0.0.1:1", broken, {}, REGION)


def test_a_bundle_with_a_compiled_part_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "deployment.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("yaml/_yaml.cpython-311-x86_64-linux-gnu.so", b"")

    with pytest.raises(SystemExit, match=r"_yaml\.cpython"):
        package.refuse_compiled(bundle)


def test_systemd_lets_a_receiver_let_go_for_as_long_as_that_may_take() -> None:
    records, volume_in_use = GRACE / 2, timedelta(seconds=volume.PATIENCE_SECONDS)

    assert "TimeoutStopSec=$${STOP_MINUTES}min\n" in userdata.TEMPLATE.read_text()
    assert records + volume_in_use + timedelta(seconds=release.HEARING_SECONDS) < GRACE


def test_the_longest_user_data_fits() -> None:
    longest = "a" * 31 + "/2026-11-23/99"

    text = userdata.render(
        role=Role.RECEIVER,
        owner=longest,
        attempt=99,
        bucket="b" * 63,
        region="ap-southeast-2",
        brief_key=f"runs/{longest}/vol-0123456789abcdef0/brief.json",
        agent_key="agent/ebbtide-agent.pyz",
        power_off_minutes=24 * 60,
        stop_minutes=30,
        serves=True,
        filesystem="btrfs",
    )

    assert len(text.encode()) <= LARGEST_USER_DATA


def the_role_of_web1() -> list[dict[str, Any]]:
    """As docs/deployment.md gives it to a host with a volume of its own."""
    documented = (ROOT / "docs" / "deployment.md").read_text()
    (policy,) = re.findall(r"`web1\.json`, .*?```json\n(.*?)```", documented, re.DOTALL)
    statements: list[dict[str, Any]] = json.loads(policy)["Statement"]
    return statements


def documented_policies() -> list[list[dict[str, Any]]]:
    """The statements of every policy in docs/deployment.md."""
    documented = (ROOT / "docs" / "deployment.md").read_text()
    return [json.loads(policy)["Statement"] for policy in re.findall(r"```json\n(.*?)```", documented, re.DOTALL)]


def test_the_documented_key_allows_a_vault_what_its_function_asks_of_the_key(template: package.Template) -> None:
    (of_the_key,) = (each for each in documented_policies() if "kms:ViaService" in json.dumps(each))
    role = functions_of(template)["copy"]["Role"]["Fn::GetAtt"][0]
    (asked,) = (s for s in role_policy(template, role)["Statement"] if s["Sid"] == "ReadWhatIsUnderTheirKeyThroughEc2")

    (allowed,) = (each for each in of_the_key if "VAULT" in json.dumps(each["Principal"]))

    assert sorted(allowed["Action"]) == asked["Action"]
    assert asked["Resource"][0]["Fn::If"][1] == {"Fn::Sub": "arn:${AWS::Partition}:kms:*:${PrimaryAccount}:key/*"}


def web1_may_write(key: str) -> bool:
    (statement,) = (each for each in the_role_of_web1() if each["Action"] == "s3:PutObject")
    return any(fnmatchcase(f"arn:aws:s3:::ARCHIVE/{key}", pattern) for pattern in statement["Resource"])


def test_a_hosts_documented_role_may_write_its_own_reports_and_manifests_and_send_its_own_events() -> None:
    run = parse_run("host.web1/2026-11-23/7951")
    (events,) = (each for each in the_role_of_web1() if each["Action"] == "events:PutEvents")

    assert web1_may_write(wire.host_report_key(run))
    assert web1_may_write(f"manifests/web1/{run}.jsonl.gz")
    assert {
        wire.host_of_source(source) for source in as_list(events["Condition"]["StringEquals"]["events:source"])
    } == {"web1"}


@given(st.text("abc/.012", max_size=12), st.text("abc/.012", max_size=12))
def test_whatever_a_hosts_documented_role_may_write_is_no_report_of_another_host(before: str, after: str) -> None:
    """IAM's wildcards match slashes, so it may write much; the shape of the keys is what holds it."""
    for key in (
        f"host-reports/2026-11-23/{before}/web1/{after}.json",
        f"host-reports/2026-11-23{before}/web1/{after}.json",
        f"host-reports/2026-11-2/eu0a/web1/{after}.json",
        f"host-reports/2026-11-23/web1/{before}7951.json",
    ):
        if web1_may_write(key):
            try:
                assert own_host(wire.run_of_host_report_key(key)) == "web1"
            except PermanentError:
                continue
    assert not web1_may_write(f"manifests/eu0a/{after}")
    assert not web1_may_write(f"reports/main/2026-11-23/1/{after}")
    assert not web1_may_write(f"host-reports/2026-11-23/eu0a/{after.replace('/web1/', '')}.json")
