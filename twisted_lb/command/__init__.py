"""The console script ``twisted-lb``: tools beside the proxy itself."""

from twisted_lb.command.main import main

__all__ = ["main"]
