"""Launching where there is room: one token, one machine, whichever type's answer was lost."""

from dataclasses import dataclass, replace

import pytest

from chalicelib.core.model import Machine
from chalicelib.errors import CapacityError, PermanentError, TokenTakenError, TransientError
from chalicelib.flows.launching import launch_where_there_is_room
from chalicelib.ports import LaunchRequest
from tests.fakes import FakeMachines

SMALL = LaunchRequest("token-1", "t4g.small", "subnet-a", "sg-1", "")
BOTH = [SMALL, replace(SMALL, instance_type="t4g.medium")]
IN_TWO_SUBNETS = [*BOTH, *(replace(each, subnet="subnet-b") for each in BOTH)]


@dataclass
class MachinesThatLoseAnAnswer(FakeMachines):
    """The next launch that has an effect is not answered."""

    loses: bool = True

    def launch(self, request: LaunchRequest) -> Machine:
        launched = super().launch(request)
        if self.loses:
            self.loses = False
            raise TransientError("no answer")
        return launched


def test_the_first_type_that_has_room_is_launched() -> None:
    machines = FakeMachines(no_capacity_for={"t4g.small"})

    launched = launch_where_there_is_room("run main", BOTH, machines)

    assert [request.instance_type for request in machines.requests] == ["t4g.medium"]
    assert list(machines.by_id) == [launched.id]


@pytest.mark.parametrize(
    ("requests", "full", "zone"), [(BOTH, "t4g.small", "zone-a"), (IN_TWO_SUBNETS, "zone-a", "zone-b")]
)
def test_the_machine_of_a_lost_answer_is_found_though_what_was_tried_before_it_has_room_again(
    requests: list[LaunchRequest], full: str, zone: str
) -> None:
    machines = MachinesThatLoseAnAnswer(no_capacity_for={full})
    with pytest.raises(TransientError, match="no answer"):
        launch_where_there_is_room("run main", requests, machines)
    machines.no_capacity_for = set()

    launched = launch_where_there_is_room("run main", requests, machines)

    assert (list(machines.by_id), launched.zone) == ([launched.id], zone)


def test_a_token_of_some_other_request_is_not_taken_for_a_lack_of_room() -> None:
    machines = FakeMachines()
    machines.launch(replace(SMALL, user_data="another"))

    with pytest.raises(TokenTakenError):
        launch_where_there_is_room("run main", BOTH, machines)


def test_without_any_room_it_is_told_what_was_tried_and_where() -> None:
    machines = FakeMachines(no_capacity_for={"zone-a"})

    with pytest.raises(CapacityError, match=r"run main: no capacity for any of t4g\.small, t4g\.medium in zone-a"):
        launch_where_there_is_room("run main", BOTH, machines)


def test_where_ec2_refuses_it_the_next_subnet_is_tried() -> None:
    machines = FakeMachines(gone={"subnet-a"})

    assert launch_where_there_is_room("recovery us0a", IN_TWO_SUBNETS, machines).zone == "zone-b"


@pytest.mark.parametrize(("full", "refused"), [("a", "b"), ("b", "a")])
def test_with_room_missing_in_one_subnet_and_refused_in_another_it_is_waited_for_and_both_are_told(
    full: str, refused: str
) -> None:
    machines = FakeMachines(no_capacity_for={f"zone-{full}"}, gone={f"subnet-{refused}"})

    with pytest.raises(CapacityError) as told:
        launch_where_there_is_room("recovery us0a", IN_TWO_SUBNETS, machines)

    assert str(told.value) == (
        f"recovery us0a: no capacity for any of t4g.small, t4g.medium in zone-{full}; EC2 refuses it in "
        f"subnet-{refused}, and `ebbtide preflight` says why"
    )


def test_what_is_refused_everywhere_is_not_waited_for_and_the_first_refusal_is_told() -> None:
    machines = FakeMachines(gone={"subnet-a", "subnet-b"})

    with pytest.raises(PermanentError, match="subnet-a"):
        launch_where_there_is_room("recovery us0a", IN_TWO_SUBNETS, machines)
