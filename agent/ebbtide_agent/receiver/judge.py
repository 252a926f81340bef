"""What is believed of a host's report: no more than the receiver saw for itself. Values in, values out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ebbtide_agent.errors import Refused, Unseen
from ebbtide_agent.no_room import NO_SPACE, OVER_QUOTA, is_of_an_attribute
from ebbtide_agent.receiver.brief import GIB, BriefedHost, Run
from ebbtide_agent.receiver.lease import Session
from ebbtide_agent.report import FAILED, PARTIAL, SUSPECT, WITH_WARNINGS, Quota, Report, bounded, worst

# What the daemon ends with when the host itself saw files vanish or go unread.
SENDER_WARNED = (23, 24)
# What rsync ends with at something that it cannot read in the tree, or write there.
FILE_IO = 11
# As rsync ends when its own time is over.
_OUT_OF_TIME = 30


def check_identity(report: Report, host: BriefedHost, brief: Run) -> None:
    """Raises Refused when the report is not this run's, not this host's, or does not bring the nonce back."""
    if (report.run, report.host, report.id) != (brief.run, host.name, host.id):
        raise Refused(f"the report is of {report.id} in {report.run}; this is {host.id} in {brief.run}")
    if report.nonce != host.nonce:
        raise Refused(f"the report of {host.id} does not carry the nonce of {brief.run}")


def check_seen(report: Report, seen: Session | None) -> None:
    """Raises Unseen when all is said to be there and no push was seen.

    What another machine of the run has taken need not have been durable when that was lost: nobody can vouch for it.
    """
    if report.is_complete and seen is None:
        raise Unseen(
            f"this receiver of {report.run} has seen no push of {report.id}, and one that was lost may have taken it:"
            f" {report.host} has to push once more (ebbtide-agent run)"
        )


def cut_off(host: BriefedHost, brief: Run, began: datetime, ended: datetime, is_out_of_memory: bool) -> Report:
    """What a receiver says for a host that was not done when the night was over, and cannot say it any more."""
    problem = (
        "the night was over before this host had reported: what arrived stays, and its next push goes on from there"
    )
    who = (brief.run, host.name, host.id, host.nonce)
    problems = (_OUT_OF_MEMORY, problem) if is_out_of_memory else (problem,)
    return Report(*who, PARTIAL, min(began, ended), ended, _OUT_OF_TIME, problems=problems)


def turned_away(host: BriefedHost, brief: Run, why: str, now: datetime) -> Report:
    """What a receiver says for a host that it cannot let in."""
    who = (brief.run, host.name, host.id, host.nonce)
    return Report(*who, FAILED, now, now, FILE_IO, problems=bounded((why,)))


def lost(report: Report, why: str) -> Report:
    """The report of a night whose volume takes no more: whatever was pushed, nobody can vouch for it."""
    return replace(report, status=FAILED, problems=bounded((why, *report.problems)), receiver=None)


def without_room(report: Report) -> Report:
    """The report of a night whose volume is so full that not even what it is can be written beside it."""
    status = worst(report.status, PARTIAL)
    return replace(report, status=status, problems=bounded((_FULL_VOLUME, *report.problems)), receiver=None)


def judged(report: Report, seen: Session | None, is_out_of_memory: bool) -> Report:
    """The report with the status it deserves: what was seen can make it worse, never better.

    `is_out_of_memory`: that is why the push did not come to its end, whatever the host could know of it.
    """
    status, problem = _verdict(report.status, seen)
    problem = _OUT_OF_MEMORY if is_out_of_memory else problem
    problems = bounded((problem, *report.problems)) if problem else bounded(report.problems)
    return replace(report, status=status, problems=problems, receiver=None)


def says_full(report: Report) -> bool:
    """Whether the host heard from our rsync that there was no room for it."""
    return not report.is_complete and any(_find_full(problem) for problem in report.problems)


def explained(report: Report, quota: Quota | None, left: int | None) -> Report:
    """The report of one that says full, with which quota or volume it is and what helps as its first problem.

    `left` is what all hosts together may still bring: where something keeps them from more it speaks of a quota, too.
    """
    found = {_find_full(problem) for problem in report.problems}
    said = _full_quota(report.host, quota, left) if OVER_QUOTA in found else None
    return replace(report, problems=bounded((said or _FULL_VOLUME, *report.problems)))


_OUT_OF_MEMORY = (
    "the push took all the memory that one host's sessions may have on the machine that takes this backup, and was"
    " ended for it: that needs a larger instance, or fewer files in each directory"
)
_FULL_VOLUME = "the volume that takes this backup is full: make it larger, a receiver's by volume.size in the policy"


def _full_quota(host: str, quota: Quota | None, left: int | None) -> str | None:
    if quota is None or quota.most is None or quota.used is None:
        return None
    if left is not None and left < quota.most - quota.used:
        return None
    most, used = quota.most / GIB, quota.used / GIB
    remedy = f"raise the quota of host {host} in the policy, or let it exclude more"
    return f"{host} is at its quota of {most:.4g} GiB, and holds {used:.4g} GiB: {remedy}"


def _find_full(problem: str) -> str | None:
    if OVER_QUOTA in problem:
        return OVER_QUOTA
    return NO_SPACE if NO_SPACE in problem and not is_of_an_attribute(problem) else None


def _verdict(claimed: str, seen: Session | None) -> tuple[str, str | None]:
    if claimed in (FAILED, SUSPECT):
        return claimed, None
    if seen is None:
        return FAILED, "the receiver saw no push"
    if seen.exit_code is None:
        return worst(claimed, PARTIAL), "the receiver did not see the last push come to its end"
    if seen.exit_code == 0 or (claimed in (WITH_WARNINGS, PARTIAL) and seen.exit_code in SENDER_WARNED):
        return claimed, None
    return worst(claimed, PARTIAL), f"the receiver's rsync ended with exit code {seen.exit_code}"
