"""The methods of moto that the sandbox replaces, pinned: an upgrade that changes one is noticed here first."""

from importlib.metadata import version
from pathlib import Path

from tests.local.sandbox_parts import a_sandbox

PINNED = {
    "Rule.send_to_targets": ["self", "original_event", "transform_input"],
    "EventsBackend.put_events": ["self", "events"],
    "LambdaBackend.invoke": ["self", "function_name", "qualifier", "body", "headers", "response_headers"],
    "EC2Backend.create_volume": [
        "self",
        "size",
        "zone_name",
        "snapshot_id",
        "encrypted",
        "kms_key_id",
        "volume_type",
        "iops",
        "throughput",
        "multi_attach_enabled",
    ],
    "EC2Backend.delete_volume": ["self", "volume_id"],
    "EC2Backend.modify_volume": [
        "self",
        "volume_id",
        "target_size",
        "target_volume_type",
        "target_iops",
        "target_throughput",
        "target_multi_attach_enabled",
    ],
    "ServiceQuotasBackend.get_service_quota": ["self", "service_code", "quota_code"],
    "EC2Backend.attach_volume": ["self", "volume_id", "instance_id", "device_path", "delete_on_termination"],
    "EC2Backend.detach_volume": ["self", "volume_id", "instance_id", "device_path"],
    "EC2Backend.create_snapshot": ["self", "volume_id", "description", "owner_id", "from_ami"],
    "EC2Backend.delete_snapshot": ["self", "snapshot_id"],
    "EC2Backend.copy_snapshot": ["self", "source_snapshot_id", "source_region", "description", "kms_key_id"],
    "ElasticBlockStore.create_volume": ["self"],
    "ElasticBlockStore.create_snapshot": ["self"],
    "ElasticBlockStore.copy_snapshot": ["self"],
    "ElasticBlockStore.describe_snapshots": ["self"],
    "EC2Backend.associate_iam_instance_profile": [
        "self",
        "instance_id",
        "iam_instance_profile_name",
        "iam_instance_profile_arn",
    ],
    "EC2Backend.create_tags": ["self", "resource_ids", "tags"],
    "EC2Backend.delete_tags": ["self", "resource_ids", "tags"],
    "EC2Backend.delete_tag_keys": ["self", "resource_ids", "tag_keys"],
    "TaggedEC2Resource.get_tags": ["self"],
    "Snapshot.progress": ["self"],
    "Instance.__init__": ["self", "ec2_backend", "image_id", "user_data", "security_groups", "kwargs"],
    "Instance.setup_defaults": ["self"],
    "Instance.add_block_device": [
        "self",
        "size",
        "device_path",
        "snapshot_id",
        "encrypted",
        "delete_on_termination",
        "kms_key_id",
        "volume_type",
    ],
    "EC2Backend.run_instances": ["self", "image_id", "count", "user_data", "security_group_names", "kwargs"],
    "Instance.terminate": ["self"],
    "Instance.stop": ["self"],
    "Instance.start": ["self"],
    "Instance.reboot": ["self"],
    "S3Backend.create_bucket": ["self", "bucket_name", "region_name", "bucket_namespace"],
    "S3Backend.delete_bucket": ["self", "bucket_name"],
    "S3Backend.complete_multipart_upload": ["self", "bucket_name", "multipart_id", "body"],
    "S3Backend.copy_object": [
        "self",
        "src_key",
        "dest_bucket_name",
        "dest_key_name",
        "storage",
        "encryption",
        "kms_key_id",
        "bucket_key_enabled",
        "mdirective",
        "metadata",
        "website_redirect_location",
        "lock_mode",
        "lock_legal_status",
        "lock_until",
        "provided_version_id",
    ],
    "S3Backend.delete_object": ["self", "bucket_name", "key_name", "version_id", "bypass"],
    "S3Response.put_object": ["self"],
    "FakeBucket.create_from_cloudformation_json": [
        "resource_name",
        "cloudformation_json",
        "account_id",
        "region_name",
        "kwargs",
    ],
    "Stack.parse_template": ["template"],
    "DomainDispatcherApplication.get_backend_for_host": ["self", "host"],
    "AttributePicker.__call__": ["self", "context"],
    "SimpleSystemManagerBackend.put_parameter": [
        "self",
        "name",
        "description",
        "value",
        "parameter_type",
        "allowed_pattern",
        "keyid",
        "overwrite",
        "tags",
        "data_type",
        "tier",
        "policies",
    ],
    "SimpleSystemManagerBackend.delete_parameter": ["self", "name"],
    "SimpleSystemManagerBackend.delete_parameters": ["self", "names"],
}


def test_moto_is_the_version_the_overrides_were_written_for() -> None:
    assert version("moto") == "5.2.5"


def test_every_replaced_method_still_has_the_signature_it_was_replaced_for(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        signatures = dict(sandbox.overrides.signatures)

    assert signatures == PINNED


def test_a_stopped_sandbox_leaves_moto_as_it_was(tmp_path: Path) -> None:
    from moto.ec2.models import EC2Backend
    from moto.events.models import Rule

    before = (EC2Backend.create_volume, EC2Backend.run_instances, Rule.send_to_targets)
    with a_sandbox(tmp_path):
        during = (EC2Backend.create_volume, EC2Backend.run_instances, Rule.send_to_targets)

    assert (EC2Backend.create_volume, EC2Backend.run_instances, Rule.send_to_targets) == before
    assert not set(before) & set(during)
