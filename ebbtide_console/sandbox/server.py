"""The sandbox's process: AWS on localhost, made of moto, the substrate and the handlers of app.py."""

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.route53.models import route53_backends
from moto.s3.models import s3_backends
from werkzeug.serving import BaseWSGIServer, make_server

from ebbtide_console.sandbox import ebs_rules, limits, shortcuts
from ebbtide_console.sandbox.clock import Clock
from ebbtide_console.sandbox.dns import NameServer
from ebbtide_console.sandbox.ebs_locks import Locks
from ebbtide_console.sandbox.environment import Environment
from ebbtide_console.sandbox.geography import ACCOUNT, FIRST, SECOND
from ebbtide_console.sandbox.lambdas import Handler, Runtime, app_handlers
from ebbtide_console.sandbox.output import HandlerOutput
from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.persistence import Store
from ebbtide_console.sandbox.region import Ground, Region
from ebbtide_console.sandbox.s3 import Objects
from ebbtide_console.sandbox.substrate import Substrate
from ebbtide_console.sandbox.work import Work

HANDLER_LOG = "handlers.log"
_SIGNED_FOR = re.compile(r"Credential=[^/]+/[0-9]+/([^/]+)/")


class Sandbox:
    """One cloud in this process; moto's state is the process's own, so there is one at a time. Its state is claimed."""

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
        self._servers: list[BaseWSGIServer] = []
        self._names: NameServer | None = None
        store = Store(state)
        self.objects = Objects(store, self.work)
        ground = Ground(substrate, store, self.clock, Runtime(self.work, self._environment, self._output, load))
        self.first, self.second = Region(FIRST, ground), Region(SECOND, ground)

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
        ebs_rules.install(self.overrides)
        Locks(self.clock).install(self.overrides)
        limits.install(self.overrides)
        shortcuts.install(self.overrides)
        self.objects.install(self.overrides)
        for region in self._regions:
            region.install(self.overrides)
            region.load()
        self.objects.load(s3_backends[ACCOUNT]["aws"])
        self._output.install()
        self._serve(sockets)
        for region in self._regions:
            region.schedule.start()

    def stop(self) -> None:
        """Let go of everything, also after a start that failed; what survives is on disk already."""
        for region in self._regions:
            region.schedule.stop()
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

    def replicate_older(self, bucket: str) -> None:
        """What S3's Batch Replication does for a bucket whose rules are newer than its objects."""
        self.objects.replicate_older(s3_backends[ACCOUNT]["aws"], bucket)
        self.quiet()

    def lose(self, region: Region) -> None:
        """The region goes out, and nothing of what it held comes back: no disk, no bucket, no table, no parameter."""
        region.go_out()
        self.quiet()
        region.lose()
        self.objects.lose(s3_backends[ACCOUNT]["aws"], region.name)

    @property
    def _regions(self) -> tuple[Region, Region]:
        return self.first, self.second

    def _serve(self, sockets: Iterable[socket.socket]) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        app = _Outages(_OneWriter(DomainDispatcherApplication(create_backend_app)), self._regions)
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


class _Outages:
    """A region that is out answers nothing: the connection ends."""

    def __init__(self, app: Any, regions: Sequence[Region]) -> None:
        self._app = app
        self._regions = regions

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        asked = _regions_asked(environ)
        if any(region.is_out and region.name in asked for region in self._regions):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        return self._app(environ, start_response)


def _regions_asked(environ: Mapping[str, Any]) -> set[str]:
    """Where a request is for: the region it is signed for, and its bucket's, which any region may ask for."""
    signed = _SIGNED_FOR.search(environ.get("HTTP_AUTHORIZATION", ""))
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(environ["PATH_INFO"].split("/")[1])
    return {signed[1] if signed else "", bucket.region_name if bucket else ""}


def client_environment(endpoint: str, region: str = FIRST) -> dict[str, str]:
    """What a process needs for its AWS clients to find the sandbox."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
