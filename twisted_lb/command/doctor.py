"""``twisted-lb doctor``: what this machine lacks for a configuration, and the commands that put it right.

Exit codes: 0 if nothing is missing; 1 if something is; 2 if the configuration cannot be read.
"""

import argparse
import json
import os
import re
from dataclasses import asdict
from ipaddress import ip_network
from typing import Any

from twisted_lb.config.load import load_file
from twisted_lb.doctor.examination import examine, is_fit
from twisted_lb.doctor.findings import Finding
from twisted_lb.doctor.interception import Choices, script
from twisted_lb.doctor.machine import Machine


def add_to(tools: Any) -> None:
    """Add this tool to ``tools``, the subparsers of the command line."""
    parser = tools.add_parser("doctor", help="say what this machine lacks for a configuration, and what puts it right")
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="the proxy's configuration")
    add("--uid", metavar="USER", help="as twistd's: judge what is left after the change to this user")
    add("--json", action="store_true", help="print a JSON object: for each subject the list of what was found")
    add("--print-tproxy", metavar="FRONTEND", help="print a shell script with the rules that bring it its traffic")
    add("--ports", type=_ports, metavar="PORTS", default=[], help="intercept these: 80,443,8000-8099 (the binds' own)")
    add("--from-interface", type=_interface, action="append", metavar="NAME", help="only what comes in here (any)")
    add("--to", type=_network, action="append", metavar="NETWORK", help="only what goes there (all but this machine)")
    add("--mark", type=_mark, default=1, metavar="N", help="the packets' mark (1)")
    add("--table", type=_table, default=100, metavar="N", help="the routing table for it (100)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    file = os.path.abspath(options.config)
    config = load_file(file)
    if options.print_tproxy is not None:
        interfaces, networks = options.from_interface or [], options.to or []
        choices = Choices(options.ports, interfaces, networks, options.mark, options.table)
        print(script(config, options.print_tproxy, choices), end="")
        return 0
    found = examine(config, file, options.uid, Machine())
    if options.json:
        print(json.dumps({subject: [asdict(one) for one in findings] for subject, findings in found.items()}, indent=2))
    else:
        for findings in found.values():
            for one in findings:
                _print(one)
        print("nothing is missing" if is_fit(found) else "something is missing")
    return 0 if is_fit(found) else 1


def _print(one: Finding) -> None:
    print(f"{one.severity:8}{one.what}\n        for {one.why}")
    for command in one.commands:
        print(f"            {command}")


def _ports(text: str) -> list[str]:
    ports = text.split(",")
    for port in ports:
        low, _, high = port.partition("-")
        if not re.fullmatch(r"\d{1,5}(-\d{1,5})?", port) or not 1 <= int(low) <= int(high or low) <= 65535:
            raise argparse.ArgumentTypeError(f"{port!r} is neither a port nor a range such as 8000-8099")
    return ports


def _interface(text: str) -> str:
    if not re.fullmatch(r'[^\s/"]{1,15}', text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of an interface")
    return text


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _mark(text: str) -> int:
    return _number(text, 0xFFFFFFFF)


def _table(text: str) -> int:
    return _number(text, 0xFFFFFFFF)


def _number(text: str, most: int) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = 0
    if not 1 <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
    return number
