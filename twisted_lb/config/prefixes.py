"""Which words begin the description of a Twisted endpoint, on this machine; asked at start-up and reload only.

Source: ``twisted.internet.endpoints``, "Endpoint String Parsers".
"""

from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

# Those that Twisted knows without a plugin; it keeps them in private tables.
_BUILT_IN_SERVERS = frozenset({"tcp", "ssl", "unix"})
_BUILT_IN_CLIENTS = frozenset({"tcp", "ssl", "unix"})


def server_prefixes() -> frozenset[str]:
    """Those that ``serverFromString`` understands."""
    return _BUILT_IN_SERVERS | {plugin.prefix.lower() for plugin in getPlugins(IStreamServerEndpointStringParser)}


def client_prefixes() -> frozenset[str]:
    """Those that ``clientFromString`` understands, in lower case."""
    return _BUILT_IN_CLIENTS | {
        plugin.prefix.lower() for plugin in getPlugins(IStreamClientEndpointStringParserWithReactor)
    }
