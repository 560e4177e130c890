"""Why an HTTP/1 message is refused: every rule by name, with the status that answers it and whether it can be relaxed.

Source: RFC 9110 and 9112; where they leave a choice, the comment at the rule says which one and why.
"""

from typing import Literal, NamedTuple

from twisted_lb.errors import WireError

OptOut = Literal["", "accept_invalid", "body_with_any_method", "odd_names", "limit"]


class Rule(NamedTuple):
    """One rule. ``status``: answers a request that breaks it; a response that does is always answered with 502."""

    status: int
    what: str
    opt_out: OptOut = ""


class Http1Error(WireError):
    """A message is refused. ``reason``: the name of a rule. ``offset``: of the offending byte in what was given.

    ``status``: what to answer the client with.
    """

    def __init__(self, reason: str, offset: int = 0, *, response: bool = False) -> None:
        super().__init__(reason, offset)
        self.status = 502 if response else RULES[reason].status


RULES: dict[str, Rule] = {
    # The request line
    "http1-empty-lines": Rule(400, "more empty lines before the request line than one", "limit"),
    "http1-method": Rule(400, "the method is no token, or no single space follows it"),
    "http1-method-reserved": Rule(400, "the method PRI belongs to HTTP/2"),
    "http1-target": Rule(400, "a control character in the target, or none of the four forms of a target"),
    "http1-target-bytes": Rule(400, "`#` or a byte above 0x7E in the target", "accept_invalid"),
    "http1-target-long": Rule(414, "the request line does not end within the limit of a head", "limit"),
    "http1-target-asterisk": Rule(400, "the target `*` with a method other than OPTIONS"),
    "http1-target-scheme": Rule(400, "an absolute target whose scheme is neither http nor https"),
    "http1-target-authority": Rule(400, "what an absolute target or CONNECT names is no `host` or `host:port`"),
    "http1-target-userinfo": Rule(400, "an absolute target with `user@`", "accept_invalid"),
    "http1-version-missing": Rule(400, "a request line without a version, as in HTTP/0.9"),
    "http1-version-malformed": Rule(400, "the version is not `HTTP/`, a digit, a dot and a digit"),
    "http1-version": Rule(505, "a version other than 1.0 and 1.1; 1.2 to 1.9 can be read as 1.1", "accept_invalid"),
    # The status line
    "http1-status-line": Rule(502, "no status line: version, space, three digits, and a space before the reason"),
    "http1-status": Rule(502, "a status below 100 or above 599; 600 to 999 can be let through", "accept_invalid"),
    "http1-reason-phrase": Rule(502, "a control character in the reason phrase"),
    # Fields
    "http1-line-end": Rule(400, "a line ends with CR or LF alone"),
    "http1-fold": Rule(400, "a line begins with white space: obsolete line folding"),
    "http1-field-name": Rule(400, "a field's name is empty or no token, or there is no colon", "accept_invalid"),
    "http1-space-before-colon": Rule(400, "white space between a field's name and its colon", "accept_invalid"),
    "http1-field-name-odd": Rule(403, "a name with bytes other than letters, digits and `-`", "odd_names"),
    "http1-field-value": Rule(400, "a control character in a field's value", "accept_invalid"),
    "http1-fields": Rule(431, "too many fields", "limit"),
    "http1-head-long": Rule(431, "the head does not end within its limit", "limit"),
    # Host
    "http1-host-missing": Rule(400, "HTTP/1.1 without Host"),
    "http1-host-twice": Rule(400, "more than one Host, equal or not"),
    "http1-host": Rule(400, "Host is empty or no `host` or `host:port`"),
    "http1-host-mismatch": Rule(400, "Host and target name different hosts or ports", "accept_invalid"),
    # Framing
    "http1-length": Rule(400, "Content-Length is not only digits, or too large"),
    "http1-length-twice": Rule(400, "more than one Content-Length, or a list, equal or not"),
    "http1-coding-and-length": Rule(400, "a request with both Transfer-Encoding and Content-Length"),
    "http1-coding-version": Rule(400, "Transfer-Encoding in HTTP/1.0"),
    "http1-coding": Rule(400, "Transfer-Encoding is empty or malformed, or has chunked twice or not at the end"),
    "http1-coding-twice": Rule(400, "more than one Transfer-Encoding"),
    "http1-coding-known": Rule(422, "a registered transfer coding before chunked: nobody here undoes it"),
    "http1-coding-unknown": Rule(501, "a transfer coding that is not registered"),
    "http1-body-in-http10": Rule(413, "HTTP/1.0 GET, HEAD or DELETE with a body", "body_with_any_method"),
    "http1-body-not-allowed": Rule(400, "CONNECT or TRACE with a body"),
    "http1-connection-names": Rule(400, "Connection names Host, Content-Length or Transfer-Encoding"),
    # Expectations and upgrades
    "http1-expect": Rule(417, "an expectation other than 100-continue"),
    "http1-websocket-key": Rule(400, "an upgrade to WebSocket without one Sec-WebSocket-Key", "accept_invalid"),
    "http1-websocket-accept": Rule(
        502, "Sec-WebSocket-Accept does not fit the key, or stands there twice", "accept_invalid"
    ),
    "http1-upgrade": Rule(502, "status 101, but no upgrade was asked for, or to another protocol"),
    "http1-disagreement": Rule(400, "the quick and the careful reading disagree: a defect of ours, please report it"),
    # Bodies
    "http1-chunk-size": Rule(400, "a chunk's size is not only hexadecimal digits, or 2^52 or more"),
    "http1-chunk-extension": Rule(400, "a malformed chunk extension"),
    "http1-chunk-line-long": Rule(400, "a chunk's size and extensions do not end within their limit", "limit"),
    "http1-chunk-overhead": Rule(400, "chunk sizes and extensions far outweigh the data"),
    "http1-chunk-end": Rule(400, "a chunk's data are not followed by CRLF"),
    "http1-trailer-forbidden": Rule(400, "a trailer field about framing, routing, the connection or the client"),
    "http1-trailer-long": Rule(431, "the trailer section does not end within its limit", "limit"),
    "http1-body-truncated": Rule(400, "the connection ended before the body did"),
}
