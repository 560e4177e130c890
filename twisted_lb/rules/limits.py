"""Rules that count: ``limit`` and ``track``."""

from twisted_lb.api import IPolicy
from twisted_lb.config.model import Rule
from twisted_lb.errors import ConfigError
from twisted_lb.rules.scope import Scope


def build_limit(rule: Rule, scope: Scope) -> IPolicy:
    """Build the policy of an entry with ``limit`` or ``track``. Raises: ConfigError."""
    raise ConfigError(f"{rule.actions[0]} cannot be used yet")
