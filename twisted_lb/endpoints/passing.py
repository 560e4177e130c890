"""Protocols and factories that hand everything on to what they wrap, and take part in whatever that takes part in."""

from typing import Any

from twisted.internet.interfaces import (
    IFileDescriptorReceiver,
    IHalfCloseableProtocol,
    IHandshakeListener,
    ILoggingContext,
    IProtocolFactory,
    IProtocolNegotiationFactory,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import alsoProvides, directlyProvides

OPTIONAL = (IHalfCloseableProtocol, IFileDescriptorReceiver, IHandshakeListener)
"""What transports look for in their protocol beyond ``IProtocol``; Twisted's own wrappers know the same three."""


def log_prefix(wrapped: Any) -> str:
    """Return what a wrapped protocol or factory wants to be called in the log."""
    return wrapped.logPrefix() if ILoggingContext.providedBy(wrapped) else type(wrapped).__name__


class PassingProtocol(Protocol):
    """Between a transport and ``wrapped``, which is ``None`` until ``adopt``."""

    wrapped: Any = None

    def adopt(self, wrapped: Any) -> None:
        """Hand everything on to ``wrapped`` from now on; to connect it is the caller's."""
        self.wrapped = wrapped
        directlyProvides(self, *(interface for interface in OPTIONAL if interface.providedBy(wrapped)))

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return type(self).__name__ if self.wrapped is None else log_prefix(self.wrapped)

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        self.wrapped.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``IProtocol``."""
        wrapped, self.wrapped = self.wrapped, None
        if wrapped is not None:
            wrapped.connectionLost(reason)

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""
        self.wrapped.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""
        self.wrapped.writeConnectionLost()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """See ``IFileDescriptorReceiver``."""
        self.wrapped.fileDescriptorReceived(descriptor)

    def handshakeCompleted(self) -> None:
        """See ``IHandshakeListener``."""
        self.wrapped.handshakeCompleted()


class PassingFactory(Factory):
    """Tells ``wrapped``, a factory, of start and stop; what protocols are made is the subclass's business."""

    noisy = False

    def __init__(self, wrapped: IProtocolFactory) -> None:
        self.wrapped: Any = wrapped
        if IProtocolNegotiationFactory.providedBy(wrapped):
            alsoProvides(self, IProtocolNegotiationFactory)

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return f"{log_prefix(self.wrapped)} (PROXY)"

    def acceptableProtocols(self) -> Any:
        """See ``IProtocolNegotiationFactory``."""
        return self.wrapped.acceptableProtocols()

    def doStart(self) -> None:
        """See ``IProtocolFactory``."""
        self.wrapped.doStart()
        super().doStart()  # type: ignore[no-untyped-call]

    def doStop(self) -> None:
        """See ``IProtocolFactory``."""
        self.wrapped.doStop()
        super().doStop()  # type: ignore[no-untyped-call]
