"""SSM parameters: moto's, written through to files only their owner can read; and Debian's public image ids."""

from datetime import datetime
from typing import Any

from moto.ssm.models import Parameter, SimpleSystemManagerBackend

from ebbtide_console.sandbox.clock import moto_time
from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.persistence import ParameterRecord, Store

DEBIAN = {
    f"/aws/service/debian/release/{release}/latest/{architecture}": f"ami-0debian{release}{architecture}"
    for release in ("12", "13")
    for architecture in ("amd64", "arm64")
}


class Parameters:
    """Parameters of one region."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def install(self, overrides: Overrides) -> None:
        """Take over moto's writes and deletions."""
        backend = SimpleSystemManagerBackend
        self._moto_put = overrides.replace(backend, "put_parameter", self._put)
        self._moto_delete = overrides.replace(backend, "delete_parameter", self._delete)
        self._moto_delete_all = overrides.replace(backend, "delete_parameters", self._delete_all)

    def load(self, backend: Any, now: datetime) -> None:
        """Bring back what was stored, and publish Debian's images as AWS does."""
        for record in self._store.parameters(backend.region_name):
            backend._parameters[record.name].append(_restored(backend.account_id, record))
        for name, image in DEBIAN.items():
            public = ParameterRecord(name, "String", image, 1, moto_time(now), None, None)
            backend._parameters[name].append(_restored(backend.account_id, public))

    def lose(self, backend: Any) -> None:
        """Every parameter of ours is gone."""
        self._delete_all(backend, [record.name for record in self._store.parameters(backend.region_name)])

    def _put(self, backend: Any, *args: Any, **kwargs: Any) -> Any:
        parameter = self._moto_put(backend, *args, **kwargs)
        self._store.save_parameter(_record(parameter, backend.region_name))
        return parameter

    def _delete(self, backend: Any, name: str) -> None:
        self._moto_delete(backend, name)
        self._store.forget_parameter(backend.region_name, backend._parameters.normalize_name(name))

    def _delete_all(self, backend: Any, names: list[str]) -> Any:
        deleted = self._moto_delete_all(backend, names)
        for name in deleted:
            self._store.forget_parameter(backend.region_name, backend._parameters.normalize_name(name))
        return deleted


def _record(parameter: Any, region: str) -> ParameterRecord:
    return ParameterRecord(
        region=region,
        name=parameter.name,
        kind=parameter.parameter_type,
        value=parameter.decrypt(parameter.value),
        version=parameter.version,
        modified=parameter.last_modified_date,
        description=parameter.description,
        key_id=parameter.keyid,
    )


def _restored(account: str, record: ParameterRecord) -> Any:
    return Parameter(
        account_id=account,
        name=record.name,
        value=record.value,
        parameter_type=record.kind,
        description=record.description,
        allowed_pattern=None,
        keyid=record.key_id,
        last_modified_date=record.modified,
        version=record.version,
        data_type="text",
        tier="Standard",
    )
