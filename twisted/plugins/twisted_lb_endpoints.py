"""Makes the endpoint descriptions ``proxy-protocol:...`` known to every Twisted application."""

from twisted_lb.endpoints.descriptions import ProxyProtocolClientParser, ProxyProtocolServerParser

proxy_protocol_server = ProxyProtocolServerParser()
proxy_protocol_client = ProxyProtocolClientParser()
