"""From the configuration file's text to a checked ``Config``; errors say file, dotted key and what would be right."""

import os.path
import re
import tomllib
from pathlib import Path
from typing import Any

from twisted_lb.config.checks import problems_in
from twisted_lb.config.convert import convert
from twisted_lb.config.model import Config
from twisted_lb.errors import ConfigError


class UnsoundConfigError(ConfigError):
    """A file that says something wrong. ``config``: what could be read of it; ``INVALID`` stands where it could not."""

    def __init__(self, config: Config, *problems: str) -> None:
        super().__init__(*problems)
        self.config = config


def load_file(path: str | os.PathLike[str]) -> Config:
    """Read and check the file.

    Raises: ConfigError with every problem; names of plugins and their options are the plugin host's to check.
    """
    source = os.fspath(path)
    try:
        text = Path(source).read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{source}: is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        ) from None
    return load_dict(parse(text, source), source, os.path.dirname(os.path.abspath(source)))


def load_dict(data: dict[str, Any], source_name: str, folder: str = "") -> Config:
    """Check what a file, or the command line, says.

    Args: ``source_name`` starts each problem. ``folder``: where relative paths of files start; "" leaves them alone.
    Raises: UnsoundConfigError with every problem.
    """
    config, found = convert(data, Config, f"{source_name}: ", folder)
    problems = [*found, *(f"{source_name}: {problem}" for problem in problems_in(config))]
    if problems:
        raise UnsoundConfigError(config, *problems)
    return config


def parse(text: str, source: str) -> dict[str, Any]:
    """Parse TOML.

    Raises: ConfigError with file, line and column.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{source}: is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        match = re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", str(error), re.DOTALL)
        what, place = (match[1], match[2]) if match else (str(error), "syntax")
        raise ConfigError(f"{source}: {place}: {what[:1].lower()}{what[1:]}") from None
