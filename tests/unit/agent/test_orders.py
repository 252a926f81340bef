"""The order to stop comes at any moment: between any two steps of the thread that waits for it, too."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ebbtide_agent

WHERE = {**os.environ, "PYTHONPATH": str(Path(ebbtide_agent.__file__).parents[1])}
AT_EACH_STEP = """
import signal, sys
from ebbtide_agent.orders import stopped_by_signals

def wait_and_be_told(at_step):
    stop, steps = stopped_by_signals(), iter(range(at_step))
    def step(frame, event, _):
        if event == "line" and next(steps, None) is None:
            sys.settrace(None)
            signal.raise_signal(signal.SIGTERM)
        return step
    sys.settrace(step)
    stop.wait(0.001)
    sys.settrace(None)
    return stop

heard = 0
while (stop := wait_and_be_told(heard)).is_given():
    assert stop.wait(60) and stop.is_given()
    heard += 1
print(heard)
"""
WAITING = """
from ebbtide_agent.orders import stopped_by_signals

stop = stopped_by_signals()
print("waiting", flush=True)
while not stop.wait(60):
    pass
print("told")
"""


def test_it_is_heard_between_any_two_steps_of_waiting_for_it() -> None:
    argv = [sys.executable, "-c", AT_EACH_STEP]
    ended = subprocess.run(argv, env=WHERE, capture_output=True, timeout=30, check=True)

    assert int(ended.stdout) > 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_is_woken_by_it(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], env=WHERE, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout
        assert waiting.stdout.readline() == "waiting\n"
        waiting.send_signal(number)

        assert waiting.communicate(timeout=30)[0] == "told\n"
