"""The sandbox's process: AWS on localhost, made of moto, the substrate and the handlers of app.py."""

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from moto.core.base_backend import BackendDict
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.route53.models import route53_backends
from moto.s3.models import s3_backends
from moto.ssm.models import ssm_backends
from werkzeug.serving import BaseWSGIServer, make_server

from ebbtide_console.sandbox.bus import Bus
from ebbtide_console.sandbox.clock import Clock
from ebbtide_console.sandbox.dns import NameServer
from ebbtide_console.sandbox.ebs import Disks
from ebbtide_console.sandbox.ec2 import Machines
from ebbtide_console.sandbox.environment import Environment
from ebbtide_console.sandbox.lambdas import Functions, Handler, app_handlers
from ebbtide_console.sandbox.limits import Limits
from ebbtide_console.sandbox.output import HandlerOutput
from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.persistence import Store
from ebbtide_console.sandbox.s3 import Objects
from ebbtide_console.sandbox.schedule import Schedule
from ebbtide_console.sandbox.ssm import Parameters
from ebbtide_console.sandbox.substrate import Substrate
from ebbtide_console.sandbox.work import Work

ACCOUNT = "123456789012"
REGION = "eu-west-1"
HANDLER_LOG = "handlers.log"


class Sandbox:
    """One cloud in this process; moto's state is the process's own, so there is one at a time. Its state is claimed.

    `bus` loses events on demand, `schedule` disables or fires the tick, `functions` holds the dead letters.
    """

    def __init__(
        self,
        state: Path,
        substrate: Substrate,
        port: int = 0,
        clock: Clock | None = None,
        load: Callable[[], Mapping[str, Handler]] = app_handlers,
    ) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._state = state
        self._port = port
        self.substrate = substrate
        self.clock = clock or Clock()
        self.work = Work()
        self.overrides = Overrides()
        self.endpoint = ""
        self._environment = Environment()
        self._output = HandlerOutput(self.handler_log)
        self._store = Store(state)
        self._servers: list[BaseWSGIServer] = []
        self._names: NameServer | None = None
        self.functions = Functions(ACCOUNT, REGION, self.work, self._environment, self._output, load)
        self.bus = Bus(self.clock, ACCOUNT, REGION, self.functions.later)
        self.schedule = Schedule(self.clock, self.bus.rules, self.bus.fire)
        self._disks = Disks(substrate, self._store, self.clock, self.work, self.bus)
        self._machines = Machines(substrate, self.clock, self.work, self.bus, self._disks)
        self._objects = Objects(self._store, REGION)
        self._parameters = Parameters(self._store)

    @property
    def handler_log(self) -> Path:
        """Where the handlers' lines go."""
        return self._state / HANDLER_LOG

    def start(self) -> None:
        """Serve; what survived is there again. PermanentError when the port is in use."""
        sockets = self.substrate.listen(self._port)
        self.endpoint = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        self._environment.set({**client_environment(self.endpoint), "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"})
        BackendDict.reset()
        for part in (self.bus, self.functions, self._disks, self._machines, self._objects, self._parameters, Limits()):
            part.install(self.overrides)
        self._load()
        self._output.install()
        self._serve(sockets)
        self.schedule.start()

    def stop(self) -> None:
        """Let go of everything, also after a start that failed; what survives is on disk already."""
        self.schedule.stop()
        for server in self._servers:
            server.shutdown()
        self.work.close()
        if self._names:
            self._names.stop()
        self.substrate.close()
        self.overrides.undo()
        BackendDict.reset()
        self._output.remove()
        self._environment.restore()

    def quiet(self, timeout: float = 30.0) -> bool:
        """Wait until every event, retry, transition and snapshot under way is through; False if that takes longer."""
        return self.work.quiet(timeout)

    def _load(self) -> None:
        self._parameters.load(ssm_backends[ACCOUNT][REGION], self.clock.now())
        self._disks.load(ec2_backends[ACCOUNT][REGION])
        self._objects.load(s3_backends[ACCOUNT]["aws"])

    def _serve(self, sockets: Iterable[socket.socket]) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        app = _OneWriter(DomainDispatcherApplication(create_backend_app))
        for sock in sockets:
            host, port = sock.getsockname()[:2]
            server = make_server(host, port, app, True, request_handler=MotoRequestHandler, fd=sock.fileno())
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, daemon=True, name=f"aws-{host}").start()
        if names := self.substrate.listen_names():
            self._names = NameServer(names, route53_backends[ACCOUNT]["aws"])
            self._names.start()


class _OneWriter:
    """DynamoDB one request at a time: moto looks at a condition and writes in two steps."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            with self._lock:
                return self._app(environ, start_response)
        return self._app(environ, start_response)


def client_environment(endpoint: str) -> dict[str, str]:
    """What a process needs for its AWS clients to find the sandbox."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
