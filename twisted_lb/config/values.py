"""What a single value of the file must be, where its type does not say it; ``convert`` and ``schema`` read it."""

from typing import Annotated

from msgspec import Meta

from twisted_lb.config.units import Size

# "(?![\s\S])" is the end of the text; "$" would let Python, but not JSON schema, accept a line end behind it.
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._:-]+(?![\s\S])",
        extra={"expected": "a name made of letters, digits and . _ : -"},
    ),
]
"""The name of a frontend, backend or server; it stands in logs, so it holds no blanks and no slashes."""

FilePath = Annotated[str, Meta(min_length=1, extra={"file": True})]
"""A file's path; a relative one starts from the folder of the configuration file."""

FileMode = Annotated[
    str,
    Meta(
        pattern=r"^0?[0-7]{3}(?![\s\S])",
        extra={"expected": 'an octal file mode as a string, such as "660"'},
    ),
]

AtLeastOne = Annotated[int, Meta(ge=1, le=2147483647)]
ZeroOrMore = Annotated[int, Meta(ge=0, le=2147483647)]
SocketBuffer = Annotated[Size, Meta(ge=1, le=2147483647)]

# From the longest block of addresses of a v2 header, two Unix paths, to the longest header that v2 can express.
HeaderSize = Annotated[Size, Meta(ge=16 + 216, le=16 + 65535)]
Weight = Annotated[int, Meta(ge=0, le=256)]

NamespaceName = Annotated[str, Meta(min_length=1, extra={"expected": "the name or the path of a network namespace"})]
"""``NAME`` stands for ``/run/netns/NAME``; what begins with a slash is a path."""

InterfaceName = Annotated[
    str,
    Meta(pattern=r"^[^\s/]{1,15}(?![\s\S])", extra={"expected": "an interface's name, 15 bytes at most"}),
]

Redispatch = Annotated[int, Meta(ge=-1, le=2147483647)]
Port = Annotated[int, Meta(ge=1, le=65535)]

Status = Annotated[
    str, Meta(pattern=r"^[45][0-9][0-9](?![\s\S])", extra={"expected": 'a status from "400" to "599" as a string'})
]

Target = Annotated[
    str,
    Meta(pattern=r"^/[\x21-\x7e]*(?![\s\S])", extra={"expected": 'a path that begins with a slash, such as "/health"'}),
]

FieldName = Annotated[
    str,
    Meta(
        pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?![\s\S])",
        extra={"expected": "the name of an HTTP field, such as X-Real-IP"},
    ),
]

FieldValue = Annotated[
    str,
    Meta(
        pattern=r"^[\t\x20-\x7e\x80-\U0010ffff]*(?![\s\S])",
        extra={"expected": "the value of an HTTP field, without control characters"},
    ),
]

Texts = Annotated[list[str], Meta(extra={"single": True})]

ListName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]+(?![\s\S])",
        extra={"expected": "the name of a list, made of letters, digits and _ -"},
    ),
]

TableName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(?![\s\S])",
        extra={"expected": "the name of a table, made of letters, digits and _"},
    ),
]

Expression = Annotated[
    str, Meta(min_length=1, extra={"expected": 'an expression as a string, such as "source in @bad" or "true"'})
]
"""What ``rules.expression`` reads; what it says can only be judged when the frontend's plugins are known."""
