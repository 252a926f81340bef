"""The AWS CLI, loaded once: each command is a fork of it, because its start takes longer than all else about it.

Started with a directory, it puts a program `aws` there that hands command line, environment and streams over.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AWS = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({socket!r})
    said = {{"argv": sys.argv[1:], "environment": dict(os.environ), "cwd": os.getcwd()}}
    socket.send_fds(server, [json.dumps(said).encode()], [0, 1, 2])
    sys.exit(server.recv(1)[0])
"""
_MOST = 1 << 20


@contextmanager
def the_aws_cli(place: Path) -> Iterator[None]:
    """For a block, `aws` is a program in that directory."""
    place.mkdir()
    command = [sys.executable, __file__, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"}) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.kill()


def serve(place: Path) -> None:
    from awscli.clidriver import create_clidriver

    driver = create_clidriver()
    for service in ("ec2", "s3"):
        driver.session.get_service_model(service)
    with socket.socket(socket.AF_UNIX) as listening:
        name = f"\0ebbtide-aws-{os.getpid()}"
        listening.bind(name)
        listening.listen()
        (place / "aws").write_text(_AWS.format(python=sys.executable, socket=name))
        (place / "aws").chmod(0o755)
        print("ready", flush=True)
        while True:
            caller, _ = listening.accept()
            body, streams, _, _ = socket.recv_fds(caller, _MOST, 3)
            child = os.fork()
            if child == 0:
                said = json.loads(body)
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                os.environ.clear()
                os.environ.update(said["environment"])
                os.chdir(said["cwd"])
                code = 255
                try:
                    code = driver.main(said["argv"])
                    sys.stdout.flush()
                finally:
                    os._exit(code)
            caller.send(bytes([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]))
            caller.close()
            for stream in streams:
                os.close(stream)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
