"""Authentication that counts for a connection and not for a request, against all rules: NTLM and Negotiate.

A connection on which a client has begun with either must not carry anybody else's requests.
Source: RFC 4559, section 6; RFC 9110, section 11.6, which the schemes do not follow; HAProxy, http_ana.c.
"""

import re

from twisted_lb.wire.http1_request import RequestHead
from twisted_lb.wire.http1_response import ResponseHead

_SCHEME = rb"(?:ntlm|negotiate)(?![!#$%&'*+\-.^_`|~0-9a-z])"
_CREDENTIALS = re.compile(rb"\n(?:proxy-)?authorization:[ \t]*+" + _SCHEME)
_CHALLENGE = re.compile(rb"\n(?:www|proxy)-authenticate:(?:[ \t]*+|[^\n]*?[ \t,])" + _SCHEME)


def authenticates_connection(head: RequestHead) -> bool:
    """Whether the request logs its whole connection in.

    Plain heads never do; see ``http1_plain``.
    """
    if head.plain:
        return False
    folded = head.folded
    return b"authorization:" in folded and _CREDENTIALS.search(folded) is not None


def challenges_connection(head: ResponseHead) -> bool:
    """Whether the response, with a status 401 or 407, begins to log the whole connection in."""
    return _CHALLENGE.search(head.folded) is not None
