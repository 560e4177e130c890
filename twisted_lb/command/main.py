"""The command line of ``twisted-lb``: which tools there are.

Each exits with 0 when all is well, with 1 when what it looked at is not, with 2 for what cannot be understood.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from twisted_lb import __version__
from twisted_lb.command.doctor import add_to as add_doctor
from twisted_lb.command.explain import add_to as add_explain
from twisted_lb.command.proxy_header import add_to as add_proxy_header
from twisted_lb.errors import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, ``sys.argv`` if none is given, and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough; Python's own flush at the end must not fail on it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ConfigError) as error:
        for line in str(error).splitlines():
            print(f"twisted-lb: {line}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="twisted-lb", description="Tools beside the proxy itself, which is: twistd -n twisted-lb"
    )
    parser.add_argument("--version", action="version", version=f"twisted-lb {__version__}")
    tools = parser.add_subparsers(required=True, metavar="TOOL")
    add_proxy_header(tools)
    add_doctor(tools)
    add_explain(tools)
    return parser
