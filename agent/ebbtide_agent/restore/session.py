"""A recovery machine's task: a drill compares a host's tree, boots it and asks it; a restore lets it stand first.

What an operator wants back stays: it powers off only once the image has and is compared, or the machine's time is over.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

from ebbtide_agent import power, procs, volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.restore import comparing
from ebbtide_agent.restore.boot_image import REBOOT, Boot
from ebbtide_agent.restore.progress import Progress, say
from ebbtide_agent.restore.recovery import Brief, encode_report, encode_standing
from ebbtide_agent.shapes import encode

# Before each further try to tell of a server that stands: more than an hour of them.
_PAUSES = (5.0, 30.0, 120.0, 600.0, 1200.0, 1800.0)


@contextmanager
def powered_off(paths: MachinePaths) -> Iterator[None]:
    """Whatever becomes of the block: the volume is let go, and the machine goes off."""
    try:
        yield
    finally:
        try:
            volume.unmount(paths.volume)
        finally:
            power.off(paths.root)


def say_that_it_has_begun(brief: Brief, cloud: Cloud) -> None:
    """The first word, before anything that takes its time: a machine of which nobody hears that is replaced."""
    body = encode({"recovery": brief.recovery, "attempt": brief.attempt})
    cloud.put_once(brief.key(f"begun/{brief.attempt}.json"), body)


def prove(brief: Brief, paths: MachinePaths, cloud: Cloud, now: Clock) -> None:
    """Recover and report; whatever goes wrong is in the report."""
    progress = Progress(brief, paths, cloud, now)
    try:
        progress.make_real()
        progress.compare()
        with progress.tried():
            pass
        verdict = progress.judge()
    except Exception as fault:  # noqa: BLE001 - this is the report on everything that can go wrong
        verdict = progress.fail(fault)
    _deliver(progress, verdict, cloud)


def stand(brief: Brief, paths: MachinePaths, cloud: Cloud, now: Clock) -> None:
    """Be that server, and say so; compare it meanwhile, and report. Until it is powered off from within and compared.

    Nothing that stands can change what is compared: it writes into a layer of its own.
    """
    procs.stop_on(signal.SIGTERM)
    progress = Progress(brief, paths, cloud, now)
    try:
        progress.make_real()
        progress.give_the_network_away()
        with closing(_Meanwhile(progress, cloud)) as meanwhile:
            with progress.tried() as boot:
                meanwhile.begin(boot)
                wants_more = boot.is_up and boot.wait() == REBOOT
            while wants_more:
                progress.shut_ways_out()
                with progress.booted() as boot:
                    wants_more = boot.is_up and boot.wait() == REBOOT
            meanwhile.await_end()
    except Exception as fault:  # noqa: BLE001 - this is the report on everything that can go wrong
        _deliver(progress, progress.fail(fault), cloud)


def report_unopened(brief: Brief, paths: MachinePaths, fault: Exception, cloud: Cloud, now: Clock) -> None:
    """Report of an opening that did not come to be, or to its end: its machine may write none of what proves."""
    progress = Progress(brief, paths, cloud, now)
    _deliver(progress, progress.fail(fault), cloud, "unopened.json")


class _Meanwhile:
    """What is done while a server stands: it is told that it does, asked again if it has not answered, and told how it
    compares once that is known."""

    def __init__(self, progress: Progress, cloud: Cloud) -> None:
        self._progress = progress
        self._cloud = cloud
        self._comparing: procs.Child | None = None
        self._compared = threading.Event()
        self._telling: threading.Thread | None = None

    def begin(self, boot: Boot) -> None:
        asking = threading.Thread(target=self._progress.go_on_asking, args=(boot, self._compared), daemon=True)
        asking.start()
        task = self._progress.comparison()
        self._comparing = comparing.begin(task)
        self._telling = threading.Thread(target=self._tell, args=(self._comparing, task, asking), daemon=True)
        self._telling.start()

    def await_end(self) -> None:
        """Once the server has ended: nobody should look for it."""
        if self._telling is not None and self._telling.is_alive():
            at_last(self._say_that_it_is_off, pauses=())
            self._telling.join()

    def close(self) -> None:
        """It leaves no program behind that would hold on to the volume."""
        if self._comparing is not None and self._comparing.poll() is None:
            procs.end_group(self._comparing)

    def _tell(self, child: procs.Child, task: comparing.Task, asking: threading.Thread) -> None:
        began = time.monotonic()
        at_last(lambda: _deliver_standing(self._progress, self._cloud))
        try:
            with self._awaited(asking):
                self._progress.take(comparing.outcome(child, task), time.monotonic() - began)
            verdict = self._progress.judge()
        except Exception as fault:  # noqa: BLE001 - it stands all the same, and somebody has to be told
            verdict = self._progress.leave_unproven(fault)
        at_last(lambda: self._report(verdict))

    @contextmanager
    def _awaited(self, asking: threading.Thread) -> Iterator[None]:
        """However the block ends: it is compared, and its last answer is known."""
        try:
            yield
        finally:
            self._compared.set()
            asking.join()

    def _say_that_it_is_off(self) -> None:
        brief = self._progress.brief
        say(f"{brief.recovery}: off, and still being compared")
        self._cloud.put_once(brief.key("off.json"), encode({"recovery": brief.recovery}))
        _hint(brief, self._cloud)

    def _report(self, verdict: str) -> None:
        self._progress.archive_what_was_found()
        _deliver(self._progress, verdict, self._cloud)


def at_last(deed: Callable[[], None], pauses: Iterable[float] = _PAUSES) -> None:
    """Do it, now or later, or give up in the end: no server that stands falls for what could not be told of it."""
    for pause in (0.0, *pauses):
        time.sleep(pause)
        try:
            return deed()
        except Exception as fault:  # noqa: BLE001 - whatever it was, it may be over later
            say(f"not told yet: {type(fault).__name__}: {fault}")
    return None


def _deliver_standing(progress: Progress, cloud: Cloud) -> None:
    standing = progress.standing()
    say(f"{standing.recovery}: {'stands' if standing.boot.is_up else standing.boot.why}, and is being compared")
    cloud.put_once(progress.brief.key("standing.json"), encode_standing(standing))
    _hint(progress.brief, cloud)


def _deliver(progress: Progress, verdict: str, cloud: Cloud, name: str = "report.json") -> None:
    say(f"{progress.brief.recovery}: {verdict}")
    cloud.put_once(progress.brief.key(name), encode_report(progress.report(verdict)))
    _hint(progress.brief, cloud)


def _hint(brief: Brief, cloud: Cloud) -> None:
    cloud.send_event("ebbtide.recovery", "Ebbtide Recovery Report", {"recovery": brief.recovery})
