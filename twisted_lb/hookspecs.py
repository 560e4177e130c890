"""Every hook. All of them supply named objects at start-up and at reload; none runs per connection."""

from collections.abc import Mapping

import pluggy

from twisted_lb.contracts import (
    IAccessLog,
    IBalancer,
    IBodyFilter,
    IObserver,
    IPolicy,
    IProxyCodec,
    ITableStore,
    IValidator,
)
from twisted_lb.supply import Supply

hookspec = pluggy.HookspecMarker("twisted_lb")


@hookspec
def lb_balancers() -> Mapping[str, Supply[IBalancer]]:
    """Supply balancing algorithms, keyed by the name that a backend's ``balance`` setting uses.

    Called: at start-up and at each reload; never per connection.
    Combined: all answers merged; a name supplied twice is a ConfigError that names both plugins.
    Gives: name -> Supply whose ``build(options)`` returns an IBalancer, built once per backend that uses it.
    Fails: raising here stops the start. Raising in ``choose`` ends that connection as
        Ending(INTERNAL, BALANCE), never a silent default.
    Cost: ``choose`` runs once per connection on the reactor's thread.
    """
    raise NotImplementedError


@hookspec
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply policies, keyed by the name that an entry of a frontend's ``policies`` uses.

    Called: at start-up and at each reload; never per connection.
    Combined: all answers merged; a name supplied twice is a ConfigError that names both plugins.
    Gives: name -> Supply whose ``build(options)`` returns an IPolicy, built once per entry.
    Fails: raising here stops the start. Raising in ``decide``, answering nonsense, naming a backend that does not exist
        or overrunning ``timeouts.policy`` denies that connection or request as Ending(INTERNAL, POLICY).
    Cost: ``decide`` runs once per connection, in HTTP mode per request, on the reactor's thread; what takes time
        answers with a Deferred.
    """
    raise NotImplementedError


@hookspec
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply validators, keyed by the name that an entry of a frontend's ``validators`` uses.

    Called: at start-up and at each reload; never per connection.
    Combined: all answers merged; a name supplied twice is a ConfigError that names both plugins.
    Gives: name -> Supply whose ``build(options)`` returns an IValidator, built once per entry.
    Fails: raising here stops the start. Raising in ``validate`` or answering nonsense denies that connection as
        Ending(INTERNAL, VALIDATION).
    Cost: ``validate`` runs at least once per connection and again each time that more bytes have come.
    """
    raise NotImplementedError


@hookspec
def lb_proxy_codecs() -> Mapping[str, Supply[IProxyCodec]]:
    """Supply versions of the PROXY header, keyed by the name that ``accept_proxy`` and ``send_proxy`` use.

    Called: at start-up and at each reload; never per connection.
    Combined: all answers merged; a name supplied twice is a ConfigError that names both plugins.
    Gives: name -> Supply whose ``build(options)`` returns an IProxyCodec, built once per use.
    Fails: raising here stops the start. A WireError of ``decode`` refuses that connection; raising anything else, or
        answering nonsense, ends it as Ending(INTERNAL, PROXY_HEADER). Raising in ``encode`` ends the connection.
    Cost: ``decode`` runs at least once per connection and again each time that more bytes have come, ``encode`` once.
    """
    raise NotImplementedError


@hookspec
def lb_access_logs() -> Mapping[str, Supply[IAccessLog]]:
    """Supply access log formats, keyed by the name that a frontend's ``access_log`` setting uses.

    Called: at start-up and at each reload; never per connection.
    Combined: all answers merged; a name supplied twice is a ConfigError that names both plugins.
    Gives: name -> Supply whose ``build(options)`` returns an IAccessLog, built once per frontend that uses it.
    Fails: raising here stops the start. Raising in ``format`` loses that record; the loss is counted and logged.
    Cost: ``format`` runs once per connection on the reactor's thread.
    """
    raise NotImplementedError


@hookspec
def lb_observers() -> Mapping[str, Supply[IObserver]]:
    """Supply observers, keyed by the name that an entry of a frontend's ``observers`` uses.

    Called: at start-up and at each reload; never per connection.
    Combined: all answers merged; a name supplied twice is a ConfigError that names both plugins.
    Gives: name -> Supply whose ``build(options)`` returns an IObserver, built once per entry.
    Fails: raising here stops the start. Raising in a method is counted and logged; the connection is unharmed.
    Cost: three calls per connection on the reactor's thread; a frontend without observers pays nothing.
    """
    raise NotImplementedError


@hookspec
def lb_body_filters() -> Mapping[str, Supply[IBodyFilter]]:
    """Supply body filters, keyed by the name that an entry of a frontend's ``body_filters`` uses; HTTP mode only.

    Called: at start-up and at each reload; never per request.
    Combined: all answers merged; a name supplied twice is a ConfigError that names both plugins.
    Gives: name -> Supply whose ``build(options)`` returns an IBodyFilter, built once per entry.
    Fails: raising here stops the start. Raising in a method of a filter or of its stream, answering nonsense, or
        returning more than 1 MiB at once ends that exchange: with 500, or cut off once the response has begun.
    Cost: two calls per exchange, and one per piece of a body that it filters, on the reactor's thread; a body that no
        filter wants takes the same path as without filters.
    """
    raise NotImplementedError


@hookspec
def lb_table_stores() -> Mapping[str, Supply[ITableStore]]:
    """Supply stores of tables that several machines share, keyed by the name that a table's ``store`` setting uses.

    Called: at start-up and at each reload; never per connection.
    Combined: all answers merged; a name supplied twice is a ConfigError that names both plugins.
    Gives: name -> Supply whose ``build(options)`` returns an ITableStore, built once per table that uses it. It
        connects when ``open`` is called, and not before.
    Fails: raising here stops the start. An ``exchange`` that fails, answers nonsense or overruns ``store.timeout`` is
        logged; until one succeeds ``store.when_away`` says what holds.
    Cost: ``exchange`` runs for each table every ``store.refresh``; with ``mode = "each"`` also once per decision.
    """
    raise NotImplementedError
