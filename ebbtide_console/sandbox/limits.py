"""What moto does not know of an account: its quotas, as AWS gives them at first, and the default key of EBS."""

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.servicequotas.models import ServiceQuotasBackend

from ebbtide_console.sandbox.overrides import Overrides

# By their codes, see chalicelib/aws/account.py: vCPUs, snapshots, TiB of gp3.
QUOTAS = {"L-1216C47A": 5.0, "L-309BACF6": 100_000.0, "L-7A658B76": 50.0}


def install(overrides: Overrides) -> None:
    """Answer where moto would not."""
    motos = overrides.replace(
        ServiceQuotasBackend, "get_service_quota", lambda backend, **asked: _quota(motos, backend, **asked)
    )
    overrides.add(ElasticBlockStore, "get_ebs_default_kms_key_id", _default_key)


def _quota(motos: Callable[..., Any], backend: Any, service_code: str, quota_code: str) -> Any:
    if quota_code in QUOTAS:
        return {"ServiceCode": service_code, "QuotaCode": quota_code, "Value": QUOTAS[quota_code]}
    return motos(backend, service_code, quota_code)


def _default_key(response: Any) -> Any:
    """Made when it is first asked for, as AWS does it."""
    return ActionResult({"KmsKeyId": response.ec2_backend.modify_ebs_default_kms_key_id("")})
