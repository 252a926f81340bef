"""The guards of this program, each as the change that takes it out and the tests that should notice, by room."""

from tools.mutated import agent, console, core, doors, flows, host, receiver, restore
from tools.mutated.mutation import Mutation

MUTATIONS: tuple[Mutation, ...] = (
    *core.MUTATIONS,
    *flows.MUTATIONS,
    *host.MUTATIONS,
    *receiver.MUTATIONS,
    *restore.MUTATIONS,
    *agent.MUTATIONS,
    *console.MUTATIONS,
    *doors.MUTATIONS,
)
