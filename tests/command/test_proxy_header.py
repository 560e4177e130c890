"""``twisted-lb proxy-header`` takes headers apart and puts them together."""

import io
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from twisted_lb.command import main

SCRIPT = Path(sysconfig.get_path("scripts")) / "twisted-lb"
GOLDEN = (
    "0d0a0d0a000d0a515549540a2111004dc000020ac6336414dc0401bb0300044657d77a010002683202000b6578616d706c652e6f7267"
    "20001d0700000000210007544c5376312e3322000b6578616d706c652e636f6d300004626c7565"
)
PLAIN = "0d0a0d0a000d0a515549540a2111000cc000020ac6336414dc0401bb"
CLOUDS = (
    "0d0a0d0a000d0a515549540a21110039c000020ac6336414dc0401bbea001701767063652d3031323334353637383961626364656630"
    "ee00050101450021e00008009b34d70a003c64"
)
ENDS = ["--source", "192.0.2.10:56324", "--destination", "198.51.100.20:443"]


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the installed script."""
    command = [str(SCRIPT), "proxy-header", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run it in this process; return the exit code, standard output and standard error."""
    try:
        code = main(["proxy-header", *arguments])
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


# The script


def test_the_installed_script_decodes_what_it_encodes() -> None:
    encoded = run("encode", *ENDS, "--crc32c", "--authority", "example.org", "--output", "raw")
    assert (encoded.returncode, encoded.stderr) == (0, b"")
    decoded = run("decode", "-", stdin=encoded.stdout + b"GET / HTTP/1.1\r\n")
    assert (decoded.returncode, decoded.stderr) == (0, b"")
    assert b"source: 192.0.2.10:56324\n" in decoded.stdout
    assert b'left over: 16 bytes, "GET / HTTP/1.1\\r\\n"\n' in decoded.stdout


def test_the_installed_script_exits_with_1_for_what_is_no_header() -> None:
    refused = run("decode", "-", stdin=b"\x16\x03\x01\x02\x00\x01")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr == (
        b"refused: proxy-not-a-header at byte 0: looks like a TLS ClientHello: the sender does not send PROXY headers\n"
    )


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [str(SCRIPT), "proxy-header", "decode", GOLDEN]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


# Decoding


def test_every_field_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "decode", GOLDEN)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "version: v2",
        "length: 93 bytes",
        "command: PROXY",
        "transport: stream",
        "source: 192.0.2.10:56324",
        "destination: 198.51.100.20:443",
        "TLV 0x03 CRC32C: 1180161914 (0x4657D77A), which is right",
        'TLV 0x01 ALPN: "h2"',
        'TLV 0x02 AUTHORITY: "example.org"',
        "TLV 0x20 SSL: client 0x07, verify 0"
        " (TLS, certificate on this connection, certificate in this session, verified)",
        '  TLV 0x21 SSL_VERSION: "TLSv1.3"',
        '  TLV 0x22 SSL_CN: "example.com"',
        'TLV 0x30 NETNS: "blue"',
    ]


def test_the_clouds_fields_are_printed_as_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "decode", CLOUDS)[1].splitlines()[-3:] == [
        'TLV 0xEA AWS: "vpce-0123456789abcdef0"',
        "TLV 0xEE AZURE: 553665793 (0x21004501)",
        "TLV 0xE0 GCP: 43686719580552292 (0x9B34D70A003C64)",
    ]


def test_other_fields_are_printed_in_digits_and_as_text_that_moves_no_cursor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*ENDS, "--tlv", "0xE4=text", "--tlv-hex", "0xE5=1b5b324a", "--tlv", "NOOP=", "--tlv", "NETNS=\x1b[2J"]
    _, header, _ = call(capsys, "encode", *arguments)
    assert call(capsys, "decode", header)[1].splitlines()[-4:] == [
        'TLV 0xE4: 74657874 ("text")',
        'TLV 0xE5: 1b5b324a ("\\x1b[2J")',
        "TLV 0x04 NOOP: empty",
        'TLV 0x30 NETNS: "\\x1b[2J"',
    ]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--local"], ["command: LOCAL", "addresses: none: those of the connection count"]),
        ([*ENDS, "--datagram"], ["command: PROXY", "transport: datagrams"]),
        (
            ["--source", "unix:/a", "--destination", "unix:@b"],
            ["command: PROXY", "transport: stream", "source: unix:/a", "destination: unix:@b"],
        ),
        (["--version", "1", *ENDS], ["command: PROXY", "transport: stream", "source: 192.0.2.10:56324"]),
    ],
)
def test_what_was_put_together_is_taken_apart(
    arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, header, _ = call(capsys, "encode", *arguments)
    assert code == 0
    code, out, _ = call(capsys, "decode", header.strip())
    assert code == 0
    assert out.splitlines()[2 : 2 + len(lines)] == lines


@pytest.mark.parametrize(
    "arguments",
    [
        [PLAIN.upper()],
        [f"0x{PLAIN}"],
        [":".join(PLAIN[place : place + 2] for place in range(0, len(PLAIN), 2))],
        [PLAIN[:20], PLAIN[20:40], f" {PLAIN[40:]}\n"],
    ],
)
def test_digits_may_be_written_as_they_come(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "decode", *arguments)[1].startswith("version: v2\nlength: 28 bytes\n")


def test_a_file_is_read_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "captured"
    path.write_bytes(b"PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\r\n" + bytes(100))
    code, out, _ = call(capsys, "decode", "--file", str(path))
    assert (code, out.splitlines()[0]) == (0, "version: v1")
    assert out.splitlines()[-1] == 'left over: 100 bytes, "{}"...'.format("\\x00" * 64)


def test_standard_input_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"PROXY UNKNOWN\r\n")))
    assert call(capsys, "decode", "-")[1].splitlines()[:2] == ["version: v1", "length: 15 bytes"]


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        ("", "incomplete: there are 0 bytes, at least 6 are needed"),
        (PLAIN[:40], "incomplete: there are 20 bytes, at least 28 are needed"),
        (PLAIN.replace("2111", "3111"), "refused: proxy-v2-version at byte 12: the signature is that of PROXY v2, but"),
        (GOLDEN.replace("4657d77a", "4657d77b"), "refused: proxy-v2-crc32c at byte 28: the checksum is wrong"),
        (b"PROXY TCP4 1.2.3.4\n".hex(), "refused: proxy-v1-line-end at byte 18: the line must end with CR LF"),
        (b"SSH-2.0-x".hex(), "refused: proxy-not-a-header at byte 0: looks like an SSH client"),
        ("0000", "refused: proxy-not-a-header at byte 0\n"),
    ],
)
def test_what_is_no_whole_header_is_explained(digits: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "decode", *((digits and [digits]) or ["--file", "/dev/null"]))
    assert (code, out) == (1, "")
    assert err.startswith(message)


# Encoding


def test_fields_are_written_in_the_order_of_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    ssl = "SSL=0700000000210007544c5376312e3322000b6578616d706c652e636f6d"
    more = ["--alpn", "h2", "--authority", "example.org", "--tlv-hex", ssl, "--tlv", "NETNS=blue"]
    assert call(capsys, "encode", "--version", "2", *ENDS, "--crc32c", *more) == (0, GOLDEN + "\n", "")
    shuffled = call(capsys, "encode", *ENDS, "--alpn", "h2", "--crc32c", "--unique-id", "x")[1]
    assert [line.split()[2] for line in call(capsys, "decode", shuffled)[1].splitlines()[-3:]] == [
        "ALPN:",
        "CRC32C:",
        "UNIQUE_ID:",
    ]


def test_v1_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    ends = ["--source", "[2001:DB8::1]:1", "--destination", "198.51.100.20:443"]
    expected = "PROXY TCP6 2001:db8::1 ::ffff:198.51.100.20 1 443\\r\\n\n"
    assert call(capsys, "encode", "--version", "1", *ends, "--output", "escaped") == (0, expected, "")


def test_v2_can_be_written_for_printf(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "encode", "--local", "--output", "escaped")
    printed = subprocess.run(["printf", "%b", out.strip()], capture_output=True, timeout=60, check=True).stdout
    assert printed.hex() == "0d0a0d0a000d0a515549540a20000000"


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (["--version", "1", *ENDS, "--alpn", "h2"], "note: v1 leaves out the TLVs\n"),
        (["--version", "1", *ENDS, "--datagram"], "note: v1 leaves out the addresses\n"),
        (["--source", "unix:/a", "--destination", "192.0.2.1:1"], "note: v2 leaves out the addresses\n"),
        (["--version", "1", *ENDS, "--local"], ""),
    ],
)
def test_what_a_version_has_no_room_for_is_said(
    arguments: list[str], note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "encode", *arguments)
    assert (code, err) == (0, note)


def test_what_cannot_be_encoded_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "encode", "--source", "192.0.2.1:65536", "--destination", "192.0.2.1:1")
    assert (code, out) == (1, "")
    assert err == "impossible: proxy-v2-port at byte 0: a port is 0 to 65535\n"


# What cannot be understood


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: ACTION"),
        (["decode"], "give either hexadecimal digits, or -, or --file"),
        (["decode", PLAIN, "--file", "x"], "give either hexadecimal digits, or -, or --file"),
        (["decode", "xyz"], "not in hexadecimal digits: 'xyz'"),
        (["decode", "--file", "/nonexistent"], "No such file or directory: '/nonexistent'"),
        (["encode", "--source", "192.0.2.1:1"], "--source and --destination go together"),
        (["encode", "--source", "192.0.2.1"], "'192.0.2.1' is not like 192.0.2.1:80"),
        (["encode", "--source", "example.org:80"], "'example.org:80' is not like 192.0.2.1:80"),
        (["encode", "--source", "::1:80"], "'::1:80' is not like 192.0.2.1:80, [2001:db8::1]:80"),
        (["encode", "--source", "192.0.2.1:x"], "'192.0.2.1:x' is not like 192.0.2.1:80"),
        (["encode", "--tlv", "0xE4"], "'0xE4' does not begin with 0 to 0xFF, or a name such as ALPN, and ="),
        (["encode", "--tlv", "256=x"], "'256=x' does not begin with 0 to 0xFF"),
        (["encode", "--tlv", "SNI=x"], "'SNI=x' does not begin with 0 to 0xFF"),
        (["encode", "--tlv-hex", "0xE4=x"], "'x' is not in hexadecimal digits"),
        (["encode", "--tlv", "SSL=x"], "the SSL TLV is too short"),
        (["encode", "--authority", "a" * 256], "an AUTHORITY TLV has at most 255 bytes"),
        (["encode", "--unique-id", "a" * 129], "a UNIQUE_ID TLV has at most 128 bytes"),
        (["encode", "--version", "3"], 'there is no PROXY codec "3" (known: "v1", "v2")'),
    ],
)
def test_what_cannot_be_understood_is_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


# The documentation

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "proxy-header.md"
EXAMPLES = [
    (command, output)
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for command, output in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


def test_there_are_examples_to_check() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(("command", "output"), EXAMPLES)
def test_the_page_shows_what_the_command_prints(command: str, output: str) -> None:
    environment = {**os.environ, "PATH": f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{command} 2>&1"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == output
    assert done.returncode == int(output.startswith("refused"))


def test_the_page_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "encode", "--help")
    rows = "".join(line for line in PAGE.read_text().splitlines() if line.startswith("| `--"))
    assert set(re.findall(r"--[a-z0-9-]+", rows)) == set(re.findall(r"--[a-z0-9-]+", out)) - {"--help"}
