"""Encryption of MySQL connections: which ways there are, what each checks, and how a refusal reads. Layer: sources.

The names are those of MySQL's own clients: `ssl_mode`, `ssl_ca`, `ssl_cert`, `ssl_key`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from cdc_platform.errors import ConfigError

MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")

# A line that broke is no refusal, and may be better in a moment.
_BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


@dataclass(frozen=True, slots=True)
class Tls:
    """`mode` is one of MODES; `ca`, `cert` and `key` are paths of PEM files.

    A file of authorities is there to be checked against and a certificate to be shown: modes that would leave them
    aside are refused.
    """

    mode: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        mode = self.resolved
        if mode not in MODES:
            raise ConfigError(f"connection: ssl_mode is one of {', '.join(MODES)}")
        if self.ca and mode not in ("verify_ca", "verify_identity"):
            raise ConfigError(f"connection: ssl_mode {mode} does not check against ssl_ca; use verify_identity")
        if self.cert and mode in ("disabled", "preferred"):
            raise ConfigError(f"connection: ssl_mode {mode} may not show ssl_cert; use verify_identity")
        if self.key and not self.cert:
            raise ConfigError("connection: ssl_key without ssl_cert; give both")

    @property
    def resolved(self) -> str:
        """The mode, where none is given the strictest that the files allow."""
        return self.mode or ("verify_identity" if self.ca else "required" if self.cert else "preferred")

    def context(self) -> ssl.SSLContext | None:
        """For the driver; None where the mode needs none. Raises ConfigError for files that cannot be used."""
        mode = self.resolved
        if mode in ("disabled", "preferred"):
            return None
        context = self._authorities()
        # Servers make themselves certificates that lack what Python 3.13 insists on; MySQL's own clients do not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = mode == "verify_identity"
        context.verify_mode = ssl.CERT_NONE if mode == "required" else ssl.CERT_REQUIRED
        if self.cert:
            try:
                # Without a password callback OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.cert, self.key, password="")
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"connection: ssl_cert {self.cert} with ssl_key {self.key or 'inside it'} cannot be used: "
                    f"{reason(error)}"
                ) from error
        return context

    def _authorities(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigError(f"connection: ssl_ca {self.ca} cannot be used: {reason(error)}") from error


def refusal(error: BaseException, tls: Tls) -> str | None:
    """Why a connection that failed with `error` while it was made was refused by TLS; None where it was not."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError) and not isinstance(seen, _BROKEN):
            return reason(seen)
        if isinstance(seen, _BROKEN) and tls.cert:
            # In TLS 1.3 the client is ready before the server has judged its certificate, and may miss the verdict.
            return "the server ended the connection when ssl_cert was shown; does it trust that certificate's issuer?"
        # PyMySQL hangs the cause on an attribute of its own.
        seen = getattr(seen, "original_exception", None) or seen.__cause__ or seen.__context__
    return None


def reason(error: Exception) -> str:
    """The words of an error of OpenSSL or of the file system, without codes and line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not in PEM form, or encrypted").replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
