"""Exim, unpacked beside the installed packages: it cannot be installed together with Postfix.

Of Debian's packages only ``exim4-daemon-heavy`` receives PROXY headers. It wants to run as a user that its installation
would make; a library that answers for that user stands in.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import do_without

PACKAGES = ("exim4-daemon-heavy", "libidn12", "libmariadb3", "libspf2-2", "libnss-wrapper")
"""What is unpacked: Exim, the libraries that it is linked with and others rarely have, and the one that stands in."""
USER = "Debian-exim"


@dataclass(frozen=True)
class Unpacked:
    """A program that can be run, and what its environment must have."""

    program: Path
    environment: dict[str, str]


def download(into: Path) -> None:
    """Get the packages' files from where this machine gets its packages; root may refresh what it knows of them."""
    get = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    done = subprocess.run(get, cwd=into, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode and os.geteuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], capture_output=True, timeout=120, check=False)
        done = subprocess.run(get, cwd=into, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        do_without(f"needs Debian's packages {', '.join(PACKAGES)}, which cannot be got: {done.stderr}")


def unpack_exim(into: Path) -> Unpacked:
    """Unpack Exim into the folder ``into``, where it may have a ``spool``; skip the test if it cannot be had."""
    download(into)
    root = into / "aside"
    for package in into.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True, timeout=60)
        package.unlink()
    program = root / "usr/sbin/exim4"
    program.chmod(0o755)  # not set-user-id: it has no need of root
    (wrapper,) = root.rglob("libnss_wrapper.so")
    folders = sorted({library.parent for library in (root / "usr/lib").rglob("lib*.so.*")})
    me = pwd.getpwuid(os.geteuid() or pwd.getpwnam("nobody").pw_uid)
    (into / "spool").mkdir()
    os.chown(into / "spool", me.pw_uid, me.pw_gid)
    into.chmod(0o777)  # the logs are that user's too
    (into / "passwd").write_text(
        f"root:x:0:0::/:/bin/false\n{USER}:x:{me.pw_uid}:{me.pw_gid}::/:/bin/false\nmail:x:8:8::/:/bin/false\n"
    )
    (into / "group").write_text(f"root:x:0:\n{USER}:x:{me.pw_gid}:\nmail:x:8:\n")
    return Unpacked(
        program,
        {
            "LD_LIBRARY_PATH": ":".join(map(str, folders)),
            "LD_PRELOAD": str(wrapper),
            "NSS_WRAPPER_PASSWD": str(into / "passwd"),
            "NSS_WRAPPER_GROUP": str(into / "group"),
        },
    )
