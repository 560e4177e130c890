"""Endpoints for any Twisted application, in Python and as endpoint description strings; the proxy uses them too."""
