"""``twisted-lb explain``: what a configuration does with a connection, or a request, and which entry decides.

Exit codes: 0 if it is let through; 1 if it is refused; 2 if the configuration, or the description, makes no sense.
"""

import argparse
import os
import re
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from twisted_lb.assembly import Assembly, assemble
from twisted_lb.config.hints import unknown_name
from twisted_lb.config.load import load_file
from twisted_lb.errors import ConfigError, found_in
from twisted_lb.explain.case import Case
from twisted_lb.explain.steps import Explanation
from twisted_lb.explain.walk import Walk
from twisted_lb.process import Process
from twisted_lb.second_look import all_told

MOST_BYTES = 1024 * 1024
"""Of ``--file``; more than any validator is ever shown."""


def add_to(tools: Any) -> None:
    """Add this tool to ``tools``, the subparsers of the command line."""
    parser = tools.add_parser("explain", help="say what becomes of a connection, and which entry decides")
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="the proxy's configuration")
    add("--frontend", metavar="NAME", help="the frontend; needed if there are several")
    add(
        "--source",
        required=True,
        metavar="ADDRESS",
        help="the client's: 192.0.2.1, 192.0.2.1:5000 or [2001:db8::1]:5000",
    )
    add("--destination", metavar="ADDRESS", help="where it connects to (the frontend's first bind)")
    add("--sni", metavar="NAME", help="the same as --fact tls.sni=NAME")
    add("--alpn", metavar="NAMES", help="the same as --fact tls.alpn=NAMES")
    add("--fact", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="what a validator would learn")
    add("--hex", type=_hex, metavar="HEX", help="the first bytes, for the validators; in HTTP mode the request's head")
    add("--file", metavar="FILE", help="the same, from a file")
    add("--silent", action="store_true", help="the client says nothing until the server has spoken")
    add("--method", help="of the request in HTTP mode (GET)")
    add("--host", help="of the request (localhost)")
    add("--path", metavar="TARGET", help="of the request, with its query (/)")
    add("--header", type=_header, action="append", default=[], metavar="FIELD", help="of the request: 'name: value'")
    add("--no-ask", action="store_true", help="leave out the policies of plugins, which may ask other machines")
    add("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from twisted.internet import reactor

    source = os.path.abspath(options.config)
    with all_told(source, lambda: Process(reactor, reactor, None)):
        config = load_file(source)
    with found_in(source):
        assembly = assemble(config, Process(reactor, reactor, None))
    try:
        frontend = _frontend(assembly, options.frontend)
        if config.frontends[frontend].mode == "tcp":
            _refuse_request(options, frontend)
        elif options.silent:
            raise ConfigError(f"--silent: frontend {frontend} is in HTTP mode, where clients speak first")
        walk = Walk(assembly, frontend, _case(options), reactor, not options.no_ask)
        told = _finished(walk, reactor)
    finally:
        assembly.close_logs()
    print(told.as_json() if options.json else "\n".join(told.as_text()))
    return 0 if told.allowed else 1


def _finished(walk: Walk, reactor: Any) -> Explanation:
    """Walk, and let the reactor run if somebody has to be waited for."""
    results: list[Any] = []
    walking: Deferred[Explanation] = ensureDeferred(walk.go())
    walking.addBoth(results.append)
    if not results:
        walking.addBoth(lambda _: reactor.stop())
        reactor.run()
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    told: Explanation = result
    return told


def _frontend(assembly: Assembly, name: str | None) -> str:
    known = list(assembly.frontends)
    if name is None:
        if len(known) == 1:
            return known[0]
        raise ConfigError(f"which frontend? --frontend {' or '.join(known)}")
    if name not in known:
        raise ConfigError(f'there is no frontend "{name}"{unknown_name(name, known)}')
    return name


def _case(options: argparse.Namespace) -> Case:
    data = options.hex
    if options.file is not None:
        if data is not None:
            raise ConfigError("one of --hex and --file is enough")
        try:
            with Path(options.file).open("rb") as file:
                data = file.read(MOST_BYTES)
        except OSError as error:
            raise ConfigError(f"--file: {options.file}: cannot be read: {error.strerror}") from None
    if data == b"":
        raise ConfigError("there are no first bytes in it; for a client that says nothing there is --silent")
    if options.silent:
        if data is not None:
            raise ConfigError("--silent: says no bytes, so --hex and --file have no place beside it")
        data = b""
    learnt = dict(options.fact)
    for name in ("sni", "alpn"):
        if getattr(options, name) is not None:
            learnt[f"tls.{name}"] = getattr(options, name)
    method, host, path = options.method or "GET", options.host or "localhost", options.path or "/"
    return Case(options.source, options.destination, data, method, host, path, options.header, learnt)


def _refuse_request(options: argparse.Namespace, frontend: str) -> None:
    for name in ("method", "host", "path", "header"):
        if getattr(options, name):
            raise ConfigError(
                f"--{name}: frontend {frontend} is in TCP mode, and sees no requests: give --hex or --file"
            )


def _pair(text: str) -> tuple[str, str]:
    name, equal, value = text.partition("=")
    if not equal or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not 'name: value'")
    return name.strip(), value.strip()


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(re.sub(r"[\s:]", "", text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not hexadecimal") from None
