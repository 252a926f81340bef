"""EC2 instances: moto's records, each with a real machine of the substrate behind it."""

import copy
import logging
import threading
from collections import defaultdict
from functools import partial
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ssm.models import ssm_backends

from ebbtide_console.sandbox.bus import Bus
from ebbtide_console.sandbox.clock import Clock, moto_time
from ebbtide_console.sandbox.ebs import Disks
from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.substrate import Substrate
from ebbtide_console.sandbox.work import Work

LOG = logging.getLogger(__name__)
RESOLVE = "resolve:ssm:"
NO_TOKEN = "ABCDE"  # what moto passes on when the request carries no client token
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_ON_THE_WAY = {"terminated": "shutting-down", "stopped": "stopping"}


class Machines:
    """Instances of one region. Every change of state is announced on the bus, as EC2 does."""

    def __init__(self, substrate: Substrate, clock: Clock, work: Work, bus: Bus, disks: Disks) -> None:
        self._substrate = substrate
        self._clock = clock
        self._work = work
        self._bus = bus
        self._disks = disks
        self._lock = threading.RLock()  # states and tokens; what the substrate calls back never takes it
        self._turn: dict[str, threading.Lock] = defaultdict(threading.Lock)  # starting and stopping of one machine
        self._plugged_in: set[str] = set()
        self._ends_as: dict[str, str] = {}
        self._launched: dict[str, tuple[str, Any]] = {}  # client token → what was asked for, the reservation

    def install(self, overrides: Overrides) -> None:
        """Take over moto's instances."""
        self._moto_init = overrides.replace(Instance, "__init__", self._init)
        self._moto_defaults = overrides.replace(Instance, "setup_defaults", self._root_volume)
        self._moto_add_device = overrides.replace(Instance, "add_block_device", self._launch_volume)
        self._moto_run = overrides.replace(EC2Backend, "run_instances", self._run)
        self._moto_associate = overrides.replace(EC2Backend, "associate_iam_instance_profile", self._associate)
        self._moto_terminate = overrides.replace(Instance, "terminate", self._terminate)
        overrides.replace(Instance, "stop", self._stop)
        overrides.replace(Instance, "start", _refuse)
        overrides.replace(Instance, "reboot", _refuse)

    def go_out(self) -> None:
        """Every machine stops, and nobody is told."""
        for instance_id in list(self._plugged_in):
            self._substrate.stop_machine(instance_id)

    def _init(self, instance: Any, *args: Any, **kwargs: Any) -> None:
        self._moto_init(instance, *args, **kwargs)
        instance.launch_time = moto_time(self._clock.now())
        _set_state(instance, "pending")

    def _root_volume(self, instance: Any) -> None:
        with self._disks.scratch():
            self._moto_defaults(instance)

    def _launch_volume(
        self,
        instance: Any,
        size: int,
        device_path: str,
        snapshot_id: str | None,
        encrypted: bool,
        delete_on_termination: bool,
        kms_key_id: str | None,
        volume_type: str | None,
    ) -> None:
        """What a launch template adds lives with the instance; the machine's own root is the substrate's affair."""
        with self._disks.scratch():
            self._moto_add_device(
                instance, size or 8, device_path, snapshot_id, encrypted, True, kms_key_id, volume_type
            )

    def _run(
        self,
        backend: Any,
        image_id: str,
        count: int,
        user_data: Any,
        security_group_names: list[str],
        **kwargs: Any,
    ) -> Any:
        """RunInstances: the same client token never launches a second time."""
        token = kwargs.get("client_token", NO_TOKEN)
        asked = repr((image_id, count, str(user_data), security_group_names, sorted(kwargs.items(), key=str)))
        with self._lock:
            if token in self._launched:
                return self._launched_before(token, asked)
            kwargs = _with_template(backend, kwargs)
            image = _image(backend, image_id or _template(backend, kwargs).get("ImageId", ""))
            reservation = self._moto_run(backend, image, count, user_data, security_group_names, **kwargs)
            if token != NO_TOKEN:
                self._launched[token] = (asked, reservation)
            for instance in reservation.instances:
                _give_address(instance, self._substrate.assign_address())
        for instance in reservation.instances:
            self._announce(instance, "pending")
            self._work.later(0, partial(self._boot, instance))
        return reservation

    def _associate(self, backend: Any, instance_id: str, *args: Any, **kwargs: Any) -> Any:
        """moto gives an instance its profile at every RunInstances, also at one that has launched nothing."""
        known = backend.iam_instance_profile_associations.get(instance_id)
        return known or self._moto_associate(backend, instance_id, *args, **kwargs)

    def _launched_before(self, token: str, asked: str) -> Any:
        before, reservation = self._launched[token]
        if before != asked:
            raise EC2ClientError(
                "IdempotentParameterMismatch", "The client token was used before with other parameters."
            )
        if all(instance.state in ("shutting-down", "terminated") for instance in reservation.instances):
            raise EC2ClientError("IdempotentInstanceTerminated", "The instance of this client token is terminated.")
        return reservation

    def _boot(self, instance: Any) -> None:
        with self._turn[instance.id]:
            if instance.state != "pending":
                return
            self._plugged_in.add(instance.id)
            user_data = instance.user_data.decode() if instance.user_data else ""
            try:
                self._substrate.start_machine(
                    instance.id,
                    instance.private_ip,
                    instance.ec2_backend.region_name,
                    user_data,
                    lambda _: self._on_exit(instance),
                )
            except Exception:
                LOG.exception("machine %s did not start", instance.id)
                self._plugged_in.discard(instance.id)
                self._work.later(0, partial(self._ended, instance, "Server.InternalError"))
                return
        with self._lock:
            if instance.state == "pending":
                self._enter(instance, "running")

    def _terminate(self, instance: Any) -> Any:
        return self._end(instance, "terminated")

    def _stop(self, instance: Any) -> Any:
        return self._end(instance, "stopped")

    def _end(self, instance: Any, as_: str) -> Any:
        """On the way to `as_`, if it is not already; the state it was in."""
        with self._lock:
            before = copy.copy(instance._state)
            if instance.state in ("shutting-down", "terminated", as_, _ON_THE_WAY[as_]):
                return before
            self._ends_as[instance.id] = as_
            self._enter(instance, _ON_THE_WAY[as_])
        self._work.later(0, partial(self._pull_the_plug, instance))
        return before

    def _pull_the_plug(self, instance: Any) -> None:
        with self._turn[instance.id]:
            plugged_in = instance.id in self._plugged_in
            if plugged_in:
                self._substrate.stop_machine(instance.id)
        if not plugged_in:
            self._ended(instance, "Client.UserInitiatedShutdown")

    def _on_exit(self, instance: Any) -> None:
        self._plugged_in.discard(instance.id)
        self._work.later(0, partial(self._ended, instance, "Client.InstanceInitiatedShutdown"))

    def _ended(self, instance: Any, reason: str) -> None:
        """The machine is gone; the same end is not recorded twice."""
        with self._lock:
            if instance.state in ("pending", "running"):
                shutdown = instance.instance_initiated_shutdown_behavior
                failed = reason.startswith("Server.")
                self._ends_as[instance.id] = "terminated" if failed or shutdown == "terminate" else "stopped"
                self._enter(instance, _ON_THE_WAY[self._ends_as[instance.id]])
            elif instance.id in self._ends_as:
                reason = "Client.UserInitiatedShutdown"
            ends_as = self._ends_as.pop(instance.id, None)
            if ends_as is None:
                return
            if ends_as == "terminated":
                self._moto_terminate(instance)
            instance.state_reason = StateReason(f"{reason}: the machine is gone", reason)
            self._enter(instance, ends_as)

    def _enter(self, instance: Any, state: str) -> None:
        _set_state(instance, state)
        self._announce(instance, state)

    def _announce(self, instance: Any, state: str) -> None:
        arn = f"arn:aws:ec2:{instance.region_name}:{instance.owner_id}:instance/{instance.id}"
        self._bus.emit("EC2 Instance State-change Notification", {"instance-id": instance.id, "state": state}, [arn])


def _set_state(instance: Any, name: str) -> None:
    instance._state = InstanceState(name, _CODES[name])


def _refuse(instance: Any) -> Any:
    raise EC2ClientError(
        "UnsupportedOperation", "The sandbox neither restarts nor reboots instances: launch a new one."
    )


def _template(backend: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    named = kwargs.get("launch_template")
    data: dict[str, Any] = backend._get_template_from_args(named).data if named else {}
    return data


def _with_template(backend: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What moto does not take from a launch template."""
    template = _template(backend, kwargs)
    behaviour = kwargs.get("instance_initiated_shutdown_behavior")
    return {
        **kwargs,
        "instance_initiated_shutdown_behavior": behaviour or template.get("InstanceInitiatedShutdownBehavior"),
        "metadata_options": kwargs.get("metadata_options") or template.get("MetadataOptions", {}),
    }


def _image(backend: Any, image_id: str) -> str:
    """The AMI's id, looked up where it is given as `resolve:ssm:<parameter>`."""
    if not image_id.startswith(RESOLVE):
        return image_id
    name = image_id.removeprefix(RESOLVE)
    parameter = ssm_backends[backend.account_id][backend.region_name].get_parameter(name)
    if parameter is None:
        raise EC2ClientError("InvalidParameterValue", f"No SSM parameter {name} to take the AMI's id from.")
    value: str = parameter.value
    return value


def _give_address(instance: Any, address: str) -> None:
    """The substrate's address for both sides: whoever looks the receiver up can reach it there."""
    nic = instance.nics[0]
    nic.private_ip_address = address
    nic.private_ip_addresses = [{"Primary": True, "PrivateIpAddress": address}]
    nic.public_ip = address
    nic.delete_on_termination = True
