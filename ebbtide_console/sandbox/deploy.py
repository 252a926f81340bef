"""Deploys the packaged template, the very one that AWS would get, into the sandbox over the wire."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from chalicelib.errors import PermanentError
from ebbtide_console.session import sandbox_client

STACK = "ebbtide-dev"

# What moto's CloudFormation cannot make: types it does not know are left out of what it is given,
# and properties it passes over in silence are named, so that nobody takes them for tested.
UNKNOWN_TYPES = {
    "AWS::S3::BucketPolicy": "the archive refuses nothing by itself; write-once is up to the writers",
    "AWS::SQS::QueuePolicy": "rules may leave what failed without being asked",
    "AWS::Lambda::EventInvokeConfig": "the sandbox retries by itself",
    "AWS::CloudWatch::Alarm": "nobody watches whether the tick runs",
}
PASSED_OVER = {
    "AWS::S3::Bucket": "versioning, object lock, public access block, ownership",
    "AWS::EC2::SecurityGroup": "egress: every group lets everything out",
    "AWS::DynamoDB::Table": "point-in-time recovery",
}

# Stands where the bundle would be: the sandbox runs the handlers of app.py themselves.
CODE = "# the sandbox runs app.py from its own directory\n"

Template = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Deployment:
    """What came of the template: the environment of the functions, their full names, the stack's outputs."""

    environment: Mapping[str, str]
    functions: tuple[str, ...]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class _Region:
    """All that the SAM translator wants of a boto3 session."""

    region_name: str


def deploy(
    endpoint: str,
    template: Template,
    parameters: Mapping[str, str],
    region: str,
    tell: Tell = print,
) -> Deployment:
    """Make the stack, once in the life of a sandbox, and read back what it resolved to.

    `template` is what tools.package builds, `parameters` what account.prepare found or made. `tell` gets a line for
    everything the sandbox does without. Raises PermanentError when the template is not accepted.
    """
    plain = _without_unknown_types(_translated(template, parameters, region), tell)
    outputs = _create_stack(endpoint, plain, parameters, region)
    functions = sandbox_client("lambda", endpoint, region).get_paginator("list_functions").paginate()
    ours = [f for page in functions for f in page["Functions"] if f["FunctionName"].startswith(f"{STACK}-")]
    environment = {name: value for f in ours for name, value in f["Environment"]["Variables"].items()}
    return Deployment(environment, tuple(sorted(f["FunctionName"] for f in ours)), outputs)


def _translated(template: Template, parameters: Mapping[str, str], region: str) -> Template:
    """Plain CloudFormation, as AWS's own transform makes it of the SAM template."""
    sam = copy.deepcopy(template)
    for resource in sam["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            del resource["Properties"]["CodeUri"]
            resource["Properties"]["InlineCode"] = CODE
    translator = Translator({}, Parser(), boto_session=_Region(region))
    try:
        plain: Template = translator.translate(sam_template=sam, parameter_values=dict(parameters))
    except InvalidDocumentException as error:
        raise PermanentError(f"the template is not valid: {error.message}; mend infra/resources.yaml") from error
    translator.metrics.publish()  # to nobody: it complains of what it has counted and not published
    return plain


def _without_unknown_types(plain: Template, tell: Tell) -> Template:
    resources = plain["Resources"]
    found = {resource["Type"] for resource in resources.values()}
    for kind in sorted(found & UNKNOWN_TYPES.keys()):
        tell(f"the sandbox goes without {kind}: {UNKNOWN_TYPES[kind]}")
    for kind in sorted(found & PASSED_OVER.keys()):
        tell(f"the sandbox passes over some of {kind}: {PASSED_OVER[kind]}")
    known = {name: resource for name, resource in resources.items() if resource["Type"] not in UNKNOWN_TYPES}
    return plain | {"Resources": known}


def _create_stack(endpoint: str, plain: Template, parameters: Mapping[str, str], region: str) -> dict[str, str]:
    cloudformation = sandbox_client("cloudformation", endpoint, region)
    try:
        cloudformation.create_stack(
            StackName=STACK,
            TemplateBody=json.dumps(plain),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
    except cloudformation.exceptions.ClientError as error:
        raise PermanentError(f"stack {STACK} cannot be made: {error}; mend infra/resources.yaml") from error
    stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    if stack["StackStatus"] != "CREATE_COMPLETE":
        raise PermanentError(f"stack {STACK} ended as {stack['StackStatus']}: {stack.get('StackStatusReason')}")
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
