"""Small configurations, assembled."""

from typing import Any

import pytest

from twisted_lb.assembly import Assembly, assemble
from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError
from twisted_lb.process import Process


def build(process: Process, before: Assembly | None = None, /, **sections: Any) -> Assembly:
    """Assemble a frontend and a backend of two servers; ``sections``: others in their place."""
    config = {
        "frontends": {"web": {"bind": "127.0.0.1:0", "backend": "app"}},
        "backends": {"app": {"servers": {"a": "127.0.0.1:9001", "b": "127.0.0.1:9002"}}},
        **sections,
    }
    return assemble(load_dict(config, "lb.toml"), process, before)


def problems(process: Process, /, **sections: Any) -> str:
    """Return what is said to be wrong with such a configuration."""
    with pytest.raises(ConfigError) as caught:
        build(process, **sections)
    return str(caught.value)
