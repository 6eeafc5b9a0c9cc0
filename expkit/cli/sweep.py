"""The verb ``sweep``: workers that join a sweep, its status, its end."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from expkit import tf1 as tf
from expkit.cli.columns import columns
from expkit.sweeps.claims import holder_of
from expkit.sweeps.sweep_folder import DONE, Child, RunState, SweepFolder, sweep_at

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "sweep",
        help="work at a sweep from any process, show it, stop it",
        description="Join, show or stop a sweep that `expkit train -m` began.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    work = actions.add_parser(
        "work",
        help="take runs of a sweep until none is left",
        description="Take a run that no process executes, or whose process died, execute it, and so on until none is "
        "left. Any number of such workers share a sweep, on all machines that see its folder. The last one writes the "
        "report, unless the command that began the sweep does.",
    )
    work.add_argument("folder", metavar="FOLDER", help="the sweep's folder, with sweep.json")
    work.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="replaces one whose secret no file keeps")
    work.add_argument("--attached", action="store_true", help=argparse.SUPPRESS)
    work.set_defaults(run=_work)
    status = actions.add_parser("status", help="show runs by status, and which worker executes which")
    status.add_argument("folder", metavar="FOLDER", help="the sweep's folder, with sweep.json")
    status.set_defaults(run=_status)
    stop = actions.add_parser("stop", help="let workers take no further run")
    stop.add_argument("folder", metavar="FOLDER", help="the sweep's folder, with sweep.json")
    stop.add_argument("--now", action="store_true", help="also interrupt the runs being executed, which can be resumed")
    stop.add_argument("--undo", action="store_true", help="let workers take runs again")
    stop.set_defaults(run=_stop)


def _work(given: argparse.Namespace) -> int:
    from expkit.runs.interruption import interruption_exits
    from expkit.runs.sweep import finish
    from expkit.runs.worker import work

    folder = sweep_at(given.folder)
    taken: list[Child] = []

    def say(child: Child) -> None:
        if taken and not given.attached:
            print(_outcome(taken[-1]), flush=True)
        taken.append(child)

    with interruption_exits():
        if given.attached:
            tf.tensorflow_version()  # imported while the command that began the sweep prepares it
            if not sys.stdin.readline():
                return 0
        try:
            plan, count = work(given.folder, given.overrides, attached=given.attached, say=say)
        except SystemExit:
            if folder.stops_now and not given.attached:
                print(f"stopped; expkit sweep stop --undo {folder.path} lets workers go on", file=sys.stderr)
            raise
        if not given.attached:
            if taken:
                print(_outcome(taken[-1]))
            print(f"{count} runs executed here; none is left for this process", flush=True)
            finish(plan, folder)
    return 0


def _outcome(child: Child) -> str:
    state = child.state()
    return f"{child.label}: {state.status.lower()}" + (f", {state.error}" if state.error else "")


def _status(given: argparse.Namespace) -> int:
    folder = sweep_at(given.folder)
    settings, states = folder.settings(), folder.states()
    counts: dict[str, int] = {}
    for state in states.values():
        counts[state.status] = counts.get(state.status, 0) + 1
    total = settings.get("total", len(states))
    shown = ", ".join(f"{count} {status.lower()}" for status, count in sorted(counts.items()) if status != "WAITING")
    print(f"{settings['name']}: {shown or 'nothing begun'}, {total} runs in all; {_led(folder)}")
    rows = list(_executed(folder, settings, states))
    if rows:
        print("\n".join(columns([("run", "step", "worker"), *rows])))
    return 0


def _executed(folder: SweepFolder, settings: dict[str, Any], states: dict[str, RunState]) -> Any:
    for name, state in states.items():
        holder = holder_of(folder.path / name)
        if holder is None or (state.status in DONE and not holder.alive):
            continue
        beat = time.time() - (folder.path / name / ".claim").stat().st_mtime
        alive = "" if holder.alive else f", died or out of reach since {beat:.0f} s; the next worker takes its run"
        yield settings["runs"][name]["label"], f"{state.step:,}", f"{holder.host}, process {holder.process}{alive}"


def _led(folder: SweepFolder) -> str:
    if folder.stop_file.is_file():
        return "stopped"
    if folder.is_led:
        return "running"
    status = str(folder.settings().get("status", "")).lower()
    return status if status == "finished" else f"{status}, without the command that began it"


def _stop(given: argparse.Namespace) -> int:
    folder = sweep_at(given.folder)
    if given.undo:
        folder.stop_file.unlink(missing_ok=True)
        print("workers may take runs again: the same command, or expkit sweep work")
        return 0
    if folder.settings().get("status") == "FINISHED" and not folder.is_led:
        print("nothing to stop: the sweep is finished")
        return 0
    folder.stop_file.write_text("now\n" if given.now else "")
    running = [name for name in folder.states() if (holder := holder_of(folder.path / name)) and holder.alive]
    what = "interrupted at their next evaluation" if given.now else "completed"
    print(f"no further run is taken; {len(running)} being executed are {what}; the same command continues")
    return 0
