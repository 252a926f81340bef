"""Lambda's runtime: the handlers of app.py, invoked in this process as Lambda would invoke them."""

import importlib.util
import json
import logging
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moto.awslambda.models import LambdaBackend, lambda_backends

from ebbtide_console.sandbox.environment import Environment
from ebbtide_console.sandbox.output import HandlerOutput
from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.work import Work

LOG = logging.getLogger(__name__)
PREFIX = "EBBTIDE_FUNCTION_PREFIX"
BACKOFF = (0.2, 1.0)  # seconds before the two retries of an asynchronous invocation; Lambda waits 60 and 120

Handler = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Context:
    """What a handler may ask of its invocation."""

    function_name: str
    invoked_function_arn: str
    memory_limit_in_mb: int
    deadline: float
    aws_request_id: str
    function_version: str = "$LATEST"

    @property
    def log_group_name(self) -> str:
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.monotonic()) * 1000))


@dataclass(frozen=True)
class DeadLetter:
    """An asynchronous invocation that failed three times."""

    function: str
    event: Any
    error: str


def app_handlers() -> Mapping[str, Handler]:
    """The doors of app.py by their short names, with a world of their own: what Lambda makes once a process, the
    sandbox, where all run in one, makes once a deployment."""
    doors = _a_copy_of("app")
    doors.the_world = _a_copy_of("chalicelib.wiring").the_world
    handlers: Mapping[str, Handler] = doors.app.handler_map
    return handlers


def _a_copy_of(name: str) -> Any:
    """A module, run afresh and known to nobody else."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Runtime:
    """What the functions of every region run on: one process, with its environment, output, and a queue for later."""

    work: Work
    environment: Environment
    output: HandlerOutput
    load: Callable[[], Mapping[str, Handler]] = app_handlers


class Functions:
    """The deployed functions of one region. Every invocation has its region's environment; the first one loads the
    handlers, like a cold start."""

    def __init__(self, account: str, region: str, runtime: Runtime) -> None:
        self._account = account
        self._region = region
        self._runtime = runtime
        self._handlers: Mapping[str, Handler] | None = None
        self._loading = threading.Lock()
        self._is_out = False
        self.dead_letters: list[DeadLetter] = []

    def install(self, overrides: Overrides) -> None:
        """Take over moto's Invoke."""
        overrides.replace(LambdaBackend, "invoke", self._invoke)

    def later(self, name: str, event: Any) -> None:
        """Invoke asynchronously; two retries under the same request id, then a dead letter."""
        self._later(name, event, _a_request_id(), attempt=0)

    def go_out(self) -> None:
        """Nothing is invoked any more, whatever was asked for."""
        self._is_out = True

    def _later(self, name: str, event: Any, request_id: str, attempt: int) -> None:
        delay = BACKOFF[attempt - 1] if attempt else 0.0
        self._runtime.work.later(delay, lambda: self._try(name, event, request_id, attempt))

    def _try(self, name: str, event: Any, request_id: str, attempt: int) -> None:
        if self._is_out:
            return
        try:
            self.call(name, event, request_id)
        except Exception as error:
            LOG.exception("function %s failed, attempt %d", name, attempt + 1)
            if attempt < len(BACKOFF):
                self._later(name, event, request_id, attempt + 1)
            else:
                self.dead_letters.append(DeadLetter(name, event, repr(error)))

    def call(self, name: str, event: Any, request_id: str | None = None) -> Any:
        """The handler's result, or what it raised; the event is copied through JSON, as the wire would."""
        function = self._backend.get_function(name)
        variables = {"AWS_REGION": self._region, "AWS_DEFAULT_REGION": self._region, **function.environment_vars}
        output = self._runtime.output
        with self._runtime.environment.of(self._region, variables), output.of(function.function_name):
            handler = self._handler(function)
            context = Context(
                function_name=function.function_name,
                invoked_function_arn=function.function_arn,
                memory_limit_in_mb=function.memory_size,
                deadline=time.monotonic() + function.timeout,
                aws_request_id=request_id or _a_request_id(),
            )
            try:
                return handler(json.loads(json.dumps(event)), context)
            except Exception:
                output.write(traceback.format_exc())
                raise

    @property
    def _backend(self) -> Any:
        return lambda_backends[self._account][self._region]

    def _handler(self, function: Any) -> Handler:
        with self._loading:
            if self._handlers is None:
                self._handlers = self._runtime.load()
        short = function.function_name.removeprefix(function.environment_vars.get(PREFIX, ""))
        if short not in self._handlers:
            raise LookupError(f"function {function.function_name}: app.py has no door named {short!r}")
        return self._handlers[short]

    def _invoke(
        self,
        backend: Any,
        function_name: str,
        qualifier: str | None,
        body: Any,
        headers: Any,
        response_headers: dict[str, str],
    ) -> str | bytes:
        """In place of moto's Invoke, which runs containers."""
        function = backend.get_function(function_name, qualifier)
        event = json.loads(body) if body else {}
        if headers.get("X-Amz-Invocation-Type") == "Event":
            self.later(function.function_name, event)
            return ""
        if headers.get("X-Amz-Invocation-Type") == "DryRun":
            return ""
        try:
            answer = json.dumps(self.call(function.function_name, event))
        except Exception as error:
            LOG.exception("function %s failed", function.function_name)
            response_headers["x-amz-function-error"] = "Unhandled"
            answer = json.dumps(_as_function_error(error))
        return answer.encode()


def _a_request_id() -> str:
    return str(uuid.uuid4())


def _as_function_error(error: Exception) -> dict[str, Any]:
    """The payload Lambda's Python runtime answers with when a handler raises."""
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }
