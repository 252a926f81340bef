"""What single values of the policy look like, and how each becomes what the core works with."""

import base64
import ipaddress
import re
import shlex
from collections.abc import Callable
from datetime import time
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chalicelib.core.checks import Value
from chalicelib.core.ids import HOST_ID, HOST_NAME, LABEL, RECEIVER_NAME

_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_WINDOW = re.compile(rf"({_TIME})-({_TIME})")
_SIZE = re.compile(r"([1-9][0-9]{0,5})(GiB|TiB)")
_DAYS = re.compile(r"([1-9][0-9]{0,3}) days?")
_KEY = re.compile(r"(?P<kind>[a-z0-9-]+) (?P<blob>[A-Za-z0-9+/]+=*)( [ -~]*)?")
_KEY_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")

# Before what a drill runs in the image, in place of an address to ask.
_ASKING = "command:"

# EBS: a gp3 volume has at most 64 TiB.
_LARGEST_VOLUME_GIB = 64 * 1024
_GIB = {"GiB": 1, "TiB": 1024}


def _matching(pattern: str | re.Pattern[str], expected: str) -> Value:
    compiled = re.compile(pattern)
    return Value(expected, lambda text: _whole_match(compiled, text)[0])


def _whole_match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match


def one_of(*choices: str, note: str = "") -> Value:
    """One of these words."""
    return Value(" or ".join(f'"{choice}"' for choice in choices) + note, _accept(lambda text: text in choices))


def _accept(is_good: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not is_good(value):
            raise ValueError(value)
        return value

    return convert


def _window(text: str) -> tuple[time, time]:
    start, end = (time.fromisoformat(local) for local in _whole_match(_WINDOW, text).groups())
    if start == end:
        raise ValueError(text)
    return start, end


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, OSError):  # OSError: the name of a directory of zones
        raise ValueError(text) from None


def _gib(text: str) -> int:
    number, unit = _whole_match(_SIZE, text).groups()
    size = int(number) * _GIB[unit]
    if size > _LARGEST_VOLUME_GIB:
        raise ValueError(text)
    return size


def _public_key(text: str) -> str:
    """A line for authorized_keys, so it must be one line, without options, and be of the kind that it says."""
    match = _whole_match(_KEY, text)
    kind = match["kind"].encode()
    blob = base64.b64decode(match["blob"], validate=True)
    if match["kind"] not in _KEY_KINDS or not blob.startswith(len(kind).to_bytes(4, "big") + kind):
        raise ValueError(text)
    _check_lengths(blob)
    return text


def _check_lengths(blob: bytes) -> None:
    """An ssh key is a row of byte strings, each after its length (RFC 4251): a cut-off paste does not add up."""
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            raise ValueError(blob)
        blob = blob[4 + length :]


def _url(*schemes: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.hostname or not re.fullmatch(r"[!-~]+", text) or parts.port == 0:
            raise ValueError(text)
        return text

    return convert


_http_url, _tcp_url = _url("http", "https"), _url("tcp")


def _probe(text: str) -> str:
    if text.startswith(_ASKING):
        return _asking_command(text)
    return _tcp_address(text) if text.startswith("tcp:") else _http_url(text)


def _tcp_address(text: str) -> str:
    """A port and no path."""
    parts = urlsplit(_tcp_url(text))
    if parts.port is None or parts.geturl() != f"tcp://{parts.netloc}":
        raise ValueError(text)
    return text


def _asking_command(text: str) -> str:
    """The words of a program and what it is told, as the agent will split them. Raises ValueError."""
    words = shlex.split(text.removeprefix(_ASKING))
    if not text.isprintable() or not words or not words[0]:
        raise ValueError(text)
    return text


RECEIVER = _matching(RECEIVER_NAME, "a lower-case letter, then at most 30 letters, digits or hyphens")
HOST = _matching(HOST_NAME, 'a host name like "us0" or "us0.example.org"')
HOST_ID_VALUE = _matching(HOST_ID, 'four of a-z and 0-9, like "us0a"')
DNS_NAME = _matching(rf"localhost|(?=.{{1,253}}$){LABEL}(\.{LABEL})+", 'a name in DNS like "backup.example.org"')

WINDOW = Value('local times like "02:00-06:00", start and end not the same', _window)
ZONE = Value('a time zone like "Europe/London"', _zone)
NETWORK = Value('a network like "198.51.100.0/24"', lambda text: str(ipaddress.ip_network(text)))
SIZE = Value('a size like "80GiB" or "1TiB", at most 64TiB', _gib)
KEY = Value('an ssh public key like "ssh-ed25519 AAAA... root@us0"', _public_key)
PROBE = Value(
    'an address like "http://127.0.0.1/" or "tcp://127.0.0.1:25", or a command like "command: pg_isready --quiet"',
    _probe,
)
COMMAND = Value(
    'a command like "service nginx start", on one line', _accept(lambda text: text.strip() and text.isprintable())
)
PING = Value('a URL like "https://example.org/ping"', _url("https"))
DAYS = Value('days like "7 days"', lambda text: int(_whole_match(_DAYS, text)[1]))
BUDGET = _matching(r"[1-9][0-9]{0,6}(\.[0-9]{2})? USD/(month|year)", 'money like "200 USD/year" or "17.50 USD/month"')

INSTANCE_TYPE = _matching(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", 'an instance type like "t4g.small"')
INSTANCE = _matching(r"i-([0-9a-f]{8}|[0-9a-f]{17})", 'an instance id like "i-0123456789abcdef0"')
SUBNET = _matching(r"subnet-([0-9a-f]{8}|[0-9a-f]{17})", 'a subnet id like "subnet-0123456789abcdef0"')
REGION = _matching(r"[a-z]{2}(-[a-z]+)+-[0-9]", 'a region like "eu-central-1"')
ACCOUNT = _matching(r"[0-9]{12}", 'an account like "123456789012"')
TOPIC = _matching(r"[A-Za-z0-9_-]{1,256}", 'the name of an SNS topic like "ops"')

THIS_SCHEMA = Value("1, the schema of this version", _accept(lambda number: number == 1), takes=int)
KEEP_COUNT = Value("a count from 0 up, or -1 to keep all", _accept(lambda count: count >= -1), takes=int)
NIGHTS = Value("a number of nights from 1 up", _accept(lambda nights: nights >= 1), takes=int)


ARM, X86 = "arm64", "x86_64"


def architecture_of(instance_type: str) -> str:
    """AWS's own ARM processors have a `g` among the letters after the generation's digit."""
    family = instance_type.partition(".")[0]
    return ARM if family == "a1" or re.match(r"[a-z]+[0-9]+[a-z]*g", family) else X86
