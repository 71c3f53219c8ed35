"""Start, stop and show the sandbox: `python -m sandbox up`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sandbox import demo, fail_points, lifecycle
from sandbox.processes import SandboxError
from sandbox.real import programs, table

DEFAULT_STATE = Path(".demo")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="The outside world on one laptop.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, sentence: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=sentence, description=sentence)
        command.add_argument("--state", type=Path, default=DEFAULT_STATE, help="folder of all data (default: .demo)")
        return command

    up = add("up", "Start everything that does not run yet, and wait until it works.")
    up.add_argument("--base-port", type=int, help="the first of eleven ports (default: 18000, or what the state has)")
    up.add_argument(
        "--home",
        type=Path,
        help="PLATFORM_OPS_HOME (default: what the state has, or the project)",
    )
    known = ", ".join(f"{system} ({' or '.join(servers)})" for system, servers in table.SERVERS.items())
    up.add_argument(
        "--real",
        action="append",
        default=[],
        metavar="SYSTEM[=SERVER]",
        help=f"a real server instead of the stand-in (default: what the state has); there are: {known}",
    )
    walk = add("demo", "Bring everything up and carry a commit from a push to production.")
    walk.add_argument("--base-port", type=int, help="as of `up`")
    walk.add_argument("--approve", action="store_true", help="answer the production release as the approver")
    down = add("down", "Stop every process of this state folder, and only those.")
    down.add_argument("--purge", action="store_true", help="remove the state folder too")
    add("status", "Say what runs; exit code 1 when something does not.")
    commands.add_parser("build", help="Build the real servers and tools that are not built yet; takes minutes and Go.")
    commands.add_parser("fail-points", help="List where a process can be made to die around a change.")
    for name, sentence in (("start", "Start one server again."), ("stop", "Stop one server.")):
        add(name, sentence).add_argument("system", choices=[*lifecycle.SYSTEMS, "airflow"])
    return parser


def main() -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args()
    if options.command == "fail-points":
        for point in fail_points.fail_points():
            print(f"{point.name:<26} {point.does}")
        return 0
    try:
        if options.command == "build":
            for program in table.PROGRAMS:
                print(programs.get(program, lambda sentence: print(sentence, flush=True)))
            return 0
        return _with_state(options)
    except SandboxError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was started runs on: `python -m sandbox down` stops it.", file=sys.stderr)
        return 130


def _with_state(options: argparse.Namespace) -> int:
    state = options.state.resolve()
    match options.command:
        case "up":
            lifecycle.up(state, options.base_port, options.home, dict(map(table.asked, options.real)))
        case "demo":
            demo.demo(state, options.base_port, approve=options.approve)
        case "down":
            lifecycle.down(state, purge=options.purge)
        case "status":
            return 0 if lifecycle.status(state) else 1
        case "start":
            lifecycle.start(state, options.system)
        case "stop":
            lifecycle.stop(state, options.system)
    return 0


if __name__ == "__main__":
    sys.exit(main())
