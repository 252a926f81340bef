"""What every machine of the sandbox finds in its place: how to reach AWS, and a power button."""

import sys
from pathlib import Path

DEBIAN_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
BY_ID = Path("dev/disk/by-id")

AWS_CONFIG = """\
[default]
region = {region}
endpoint_url = {endpoint}
"""

# EC2 would give an instance the credentials of its role; the sandbox takes anything.
AWS_CREDENTIALS = """\
[default]
aws_access_key_id = sandbox
aws_secret_access_key = sandbox
"""

POWEROFF = """\
#!/bin/sh
exec kill -TERM {first_process}
"""

SHUTDOWN = """\
#!/bin/sh
# shutdown [-h|-P] now | +MINUTES
for word; do
    case $word in
    now | +0) exec {poweroff} ;;
    +[1-9]*) (sleep $((${{word#+}} * 60)); exec {poweroff}) >/dev/null 2>&1 & exit ;;
    esac
done
echo "shutdown: say when: now, or +MINUTES" >&2
exit 1
"""


def write_aws_config(home: Path, endpoint: str, region: str) -> None:
    """Let boto3 and the AWS CLI under this home find the sandbox, and nothing else."""
    aws = home / ".aws"
    aws.mkdir(parents=True, exist_ok=True)
    (aws / "config").write_text(AWS_CONFIG.format(region=region, endpoint=endpoint))
    (aws / "credentials").write_text(AWS_CREDENTIALS)


def write_power_button(directory: Path, first_process: str, seen_as: Path | None = None) -> None:
    """Offer poweroff and shutdown in a directory (which the machine itself sees as `seen_as`).

    `first_process` is shell for the id of the machine's first process.
    """
    directory.mkdir(parents=True, exist_ok=True)
    poweroff = (seen_as or directory) / "poweroff"
    for name, text in (
        ("poweroff", POWEROFF.format(first_process=first_process)),
        ("shutdown", SHUTDOWN.format(poweroff=f"'{poweroff}'")),
    ):
        path = directory / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def path_of(power_button: Path, *more: Path) -> str:
    """A machine's PATH: its power button, this program's own Python (which has boto3), more, then what Debian has."""
    places = (power_button, Path(sys.executable).parent, *more, *map(Path, DEBIAN_PATH))
    return ":".join(str(place) for place in places)


def by_id_name(volume_id: str) -> str:
    """The name under which EC2 shows an EBS volume to its machine: the serial number has no dash."""
    return f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"
