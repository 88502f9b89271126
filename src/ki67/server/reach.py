"""From where a server is reached, and what that asks of it."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ki67.errors import FileError, UsageError

HOST: Final = "127.0.0.1"
"""Only this machine: to others a server needs accounts, which labelling projects have and cases have not."""

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - what a user may ask for
"""All addresses of this machine."""


@dataclass(frozen=True)
class Reach:
    """From where a labelling project is reached.

    Parameters
    ----------
    host
        Address to listen at.
    names
        Names, perhaps with a port, that browsers know the server by besides its address.
    certificate, key
        Files of the certificate (PEM) for encryption, and of its key; None without encryption.
    unencrypted
        Whether passwords may go over the network unencrypted, as where a proxy on the way encrypts.
    """

    host: str = HOST
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    unencrypted: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def shown(self) -> str:
        """What stands in the address that is printed."""
        if self.names:
            return self.names[0].partition(":")[0]
        return HOST if self.is_local or self.host == EVERYWHERE else self.host

    def require_nothing_asked(self) -> None:
        """Refuse to serve what has no accounts otherwise than on this machine.

        Raises
        ------
        UsageError
            Where anything else was asked for.
        """
        if self != Reach():
            raise UsageError(
                "cases are shown on this machine only, for they have no accounts; --host, --name, --certificate, "
                "--certificate-key and --unencrypted are for labelling projects"
            )

    def require_encryption(self) -> None:
        """Refuse to have passwords sent over a network unencrypted without having been told to.

        Raises
        ------
        UsageError
            Where they would be, and where only one of certificate and key is given.
        FileError
            Where either file is not there.
        """
        if (self.certificate is None) != (self.key is None):
            raise UsageError("give both --certificate and --certificate-key, or neither")
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise FileError(path, "does not exist", "Give the certificate and its key as PEM files.")
        if not self.is_local and self.certificate is None and not self.unencrypted:
            raise UsageError(
                "passwords would go over the network unencrypted; give --certificate and --certificate-key, or "
                "--unencrypted where a proxy or a tunnel encrypts"
            )

    def hosts(self, port: int) -> frozenset[str]:
        """Names, with port, that the server answers to."""
        known = {"127.0.0.1", "localhost"}
        if not self.is_local:
            known |= {self.host, socket.gethostname(), socket.getfqdn()} - {EVERYWHERE}
        found = {f"{name}:{port}" for name in (*known, *self.names)} | set(self.names)
        return frozenset(name.lower() for name in found)
