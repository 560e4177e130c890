"""Makes our endpoint descriptions known to every Twisted application: ``proxy-protocol:``, ``netns:`` and others."""

from twisted_lb.endpoints.descriptions import ProxyProtocolClientParser, ProxyProtocolServerParser
from twisted_lb.endpoints.network_descriptions import (
    NamespaceClientParser,
    NamespaceServerParser,
    SourceClientParser,
    TransparentServerParser,
)

proxy_protocol_server = ProxyProtocolServerParser()
proxy_protocol_client = ProxyProtocolClientParser()
namespace_server = NamespaceServerParser()
namespace_client = NamespaceClientParser()
transparent_server = TransparentServerParser()
source_client = SourceClientParser()
