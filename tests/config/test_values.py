"""What single values may be, at their edges."""

from typing import Any

import msgspec
import pytest

from twisted_lb.config import values


@pytest.mark.parametrize(
    ("annotation", "fits", "does_not"),
    [
        (values.Name, "web-1.example:x_y", "web/1"),
        (values.FilePath, "x", ""),
        (values.FileMode, "0660", "680"),
        (values.AtLeastOne, 1, 0),
        (values.ZeroOrMore, 0, -1),
        (values.Weight, 256, 257),
        (values.NamespaceName, "blue", ""),
        (values.InterfaceName, "fifteen-bytes-0", "sixteen-bytes-00"),
        (values.InterfaceName, "eth0.7", "eth0/7"),
        (values.Redispatch, -1, -2),
        (values.Port, 65535, 65536),
        (values.Status, "599", "600"),
        (values.Target, "/health?x", "health"),
        (values.FieldName, "X-Real-IP", "X Real"),
        (values.FieldValue, "a\tb\u00e9", "a\0b"),
        (values.ListName, "bad_networks-2", "bad.networks"),
        (values.TableName, "per_client2", "2clients"),
        (values.Expression, "true", ""),
    ],
)
def test_each_takes_what_fits_and_nothing_beside_it(annotation: Any, fits: Any, does_not: Any) -> None:
    assert msgspec.convert(fits, annotation) == fits
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(does_not, annotation)


@pytest.mark.parametrize("annotation", [values.Name, values.Status, values.FieldValue, values.ListName])
def test_no_text_ends_in_a_line_end(annotation: Any) -> None:
    assert msgspec.convert("404", annotation)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("404\n", annotation)
