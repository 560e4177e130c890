"""``use = "api_keys"``: who has no key is not served; the server learns whose key it is, and not the key."""

from collections.abc import Mapping

import msgspec
from zope.interface import implementer

from twisted_lb.api import ALLOW, Decision, Deny, Facts, IPolicy, Options, Redirect, Stage, Supply, Tarpit, hookimpl


class ApiKeysOptions(Options, frozen=True):
    """``keys``: key to customer. ``premium``: the customers whose requests go to ``premium_backend``."""

    keys: dict[str, str]
    premium: list[str] = msgspec.field(default_factory=list)
    premium_backend: str | None = None


@implementer(IPolicy)
class ApiKeys:
    """Reads the field X-API-Key, and tells the server in X-Customer who asks."""

    stage = Stage.POLICY

    def __init__(self, options: ApiKeysOptions) -> None:
        self._customers = {key.encode(): customer.encode() for key, customer in options.keys.items()}
        self._premium = {customer.encode() for customer in options.premium}
        self._premium_backend = options.premium_backend

    def decide(self, facts: Facts) -> Decision:
        """Let on who has a key."""
        request = facts.http
        if request is None:
            return Deny("there are no keys in TCP mode")
        if request.path == b"/":
            return Redirect("https://docs.example.org/")
        key = request.headers.get(b"X-API-Key")
        if key is None:
            return Deny("no key", 401, [("WWW-Authenticate", 'ApiKey realm="api"')])
        customer = self._customers.get(key)
        if customer is None:
            return Tarpit("a wrong key", 401)
        request.headers.remove(b"X-API-Key")
        request.headers.set(b"X-Customer", customer)
        if customer in self._premium:
            facts.backend = self._premium_backend
        return ALLOW


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``api_keys``."""
    return {"api_keys": Supply(ApiKeys, ApiKeysOptions)}
