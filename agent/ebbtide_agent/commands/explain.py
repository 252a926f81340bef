"""`ebbtide-agent explain`: whether a path is backed up, and by which rule."""

from __future__ import annotations

import argparse
import json
import os
from functools import partial

from ebbtide_agent.beside import Interfered
from ebbtide_agent.commands.here import Commands, Here, add_command, add_places, paths_of
from ebbtide_agent.host.config import load
from ebbtide_agent.host.explain import Answer, Explainer, Verdict
from ebbtide_agent.host.filters import BUILT_IN_EXCLUDES
from ebbtide_agent.host.look import look_first
from ebbtide_agent.printable import printable

DESCRIPTION = """\
Say of each path whether it is backed up, and which line of which file decides that:

  $ ebbtide-agent explain /etc/passwd /var/log/mail.log.1.gz /proc/cpuinfo /srv/new/
  /etc/passwd: backed up; nothing excludes it
  /var/log/mail.log.1.gz: not backed up; /etc/backup_exclude:3: *.gz excludes it
  /proc/cpuinfo: not backed up; /proc/*, never backed up of a whole system, excludes it
  /srv/new: not there, would be backed up; /etc/backup_include:2: /srv asks for it

A path that is not there may be asked for as well: it is meant as a file, with a slash at its end as a directory.
What is decided here is what the push does; a pattern whose meaning only rsync knows is put to rsync. Of what
lies where only root may look nobody else is told anything: ask as root.

Of a whole system (WHOLE_SYSTEM) never backed up is what the kernel makes up, wherever it is mounted, and

""" + "".join(f"  {pattern}\n" for pattern in BUILT_IN_EXCLUDES)
NOT_ALL = 1


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands, "explain", explain, "say whether a path is backed up, and by which rule", DESCRIPTION
    )
    add_places(parser)
    parser.add_argument("path", nargs="+", type=_absolute, metavar="PATH", help="an absolute path of this host")
    parser.add_argument("--json", action="store_true", help="the answers as a list, one object a path")


def explain(options: argparse.Namespace, _: Here) -> int:
    paths = paths_of(options)
    explainer = Explainer(load(paths), paths)
    answers = [_look_at(explainer, os.fsencode(path)) for path in options.path]
    if options.json:
        print(json.dumps([_as_object(answer) for answer in answers], indent=2))
    else:
        print("\n".join(map(_as_line, answers)))
    return 0 if all(answer.verdict.is_backed_up for answer in answers) else NOT_ALL


def _look_at(explainer: Explainer, path: bytes) -> Answer:
    """The answer; of a path on a mount that does not answer that it cannot be told."""
    try:
        return look_first(f"a look at {printable(path)}", partial(explainer.explain, path))
    except Interfered as error:
        return Answer(path, None, Verdict(None, str(error)))


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} does not start with /")
    return text


def _as_line(answer: Answer) -> str:
    verdict = answer.verdict
    if verdict.is_backed_up is None:
        becomes = "cannot be told"
    elif answer.is_there is False:
        becomes = f"not there, would {'' if verdict.is_backed_up else 'not '}be backed up"
    else:
        becomes = "backed up" if verdict.is_backed_up else "not backed up"
    return f"{printable(answer.path)}: {becomes}; {verdict.why}"


def _as_object(answer: Answer) -> dict[str, object]:
    return {
        "path": os.fsdecode(answer.path),
        "is_there": answer.is_there,
        "is_backed_up": answer.verdict.is_backed_up,
        "why": answer.verdict.why,
    }
