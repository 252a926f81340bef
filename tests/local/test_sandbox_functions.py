"""Functions of the sandbox: invoked as Lambda invokes them."""

import json
import os
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ebbtide_console.sandbox import lambdas
from tests.local.sandbox_parts import PREFIX, WAIT, Recorder, a_sandbox, client, deploy_function


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambdas, "BACKOFF", (0.0, 0.0))


def test_a_synchronous_invocation_answers_with_the_handlers_result(tmp_path: Path) -> None:
    recorder = Recorder("drill")
    with a_sandbox(tmp_path, recorder) as sandbox:
        arn = deploy_function(sandbox.endpoint, "drill")

        answer = client("lambda", sandbox.endpoint).invoke(FunctionName=f"{PREFIX}drill", Payload=b'{"host": "us0"}')

        assert json.loads(answer["Payload"].read()) == {"handled": "drill", "event": {"host": "us0"}}
        assert (answer["StatusCode"], "FunctionError" in answer) == (200, False)
        [(_, _, context)] = recorder.calls
        assert (context.function_name, context.invoked_function_arn) == (f"{PREFIX}drill", arn)
        assert 0 < context.get_remaining_time_in_millis() <= 30_000
        assert os.environ["EBBTIDE_TEST_VARIABLE"] == "set"
        assert os.environ["AWS_ENDPOINT_URL"] == sandbox.endpoint
    assert "EBBTIDE_TEST_VARIABLE" not in os.environ


def test_a_handler_that_raises_is_a_function_error_and_is_not_retried(tmp_path: Path) -> None:
    recorder = Recorder("drill")
    recorder.fails = 1
    with a_sandbox(tmp_path, recorder) as sandbox:
        deploy_function(sandbox.endpoint, "drill")

        answer = client("lambda", sandbox.endpoint).invoke(FunctionName=f"{PREFIX}drill", Payload=b"{}")

        error = json.loads(answer["Payload"].read())
        assert answer["FunctionError"] == "Unhandled"
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "not this time")
        assert any("sandbox_parts.py" in line for line in error["stackTrace"])
        assert len(recorder.calls) == 1


@pytest.mark.parametrize(("failures", "dead"), [(2, 0), (3, 1)])
def test_an_asynchronous_invocation_is_tried_three_times(tmp_path: Path, failures: int, dead: int) -> None:
    recorder = Recorder("recover")
    recorder.fails = failures
    with a_sandbox(tmp_path, recorder) as sandbox:
        deploy_function(sandbox.endpoint, "recover")

        answer = client("lambda", sandbox.endpoint).invoke(
            FunctionName=f"{PREFIX}recover", InvocationType="Event", Payload=b'{"recovery": "us0a"}'
        )
        assert sandbox.quiet(WAIT)

        assert answer["StatusCode"] == 202
        assert recorder.events("recover") == [{"recovery": "us0a"}] * 3
        assert len({context.aws_request_id for _, _, context in recorder.calls}) == 1
        assert [letter.function for letter in sandbox.first.functions.dead_letters] == [f"{PREFIX}recover"] * dead


def test_what_a_handler_prints_goes_to_the_log_and_not_to_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_sandbox(tmp_path, Recorder("drill")) as sandbox:
        deploy_function(sandbox.endpoint, "drill")

        client("lambda", sandbox.endpoint).invoke(FunctionName=f"{PREFIX}drill")
        print("the operator's own line")

        assert sandbox.handler_log.read_text() == f"{PREFIX}drill drill was called\n"
        assert capsys.readouterr().out == "the operator's own line\n"


def test_a_function_nobody_deployed_is_not_found(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox, pytest.raises(ClientError, match="ResourceNotFound"):
        client("lambda", sandbox.endpoint).invoke(FunctionName=f"{PREFIX}nothing")


def test_a_function_without_a_door_says_so(tmp_path: Path) -> None:
    with a_sandbox(tmp_path, Recorder("drill")) as sandbox:
        deploy_function(sandbox.endpoint, "window")

        answer = client("lambda", sandbox.endpoint).invoke(FunctionName=f"{PREFIX}window")

        assert "no door named 'window'" in json.loads(answer["Payload"].read())["errorMessage"]
