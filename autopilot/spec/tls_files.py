"""Find out if TLS can be spoken with given certificate and key files."""

from __future__ import annotations

import ssl


def find_tls_problem(
    *, cafile: str | None = None, capath: str | None = None, certfile: str | None = None, keyfile: str | None = None
) -> str:
    """Return a sentence when files, which exist and can be read, are no certificates or keys that fit, else ""."""
    names = [name for name in (cafile, capath, certfile, keyfile) if name]
    try:
        context = ssl.create_default_context(cafile=cafile, capath=capath)
        if certfile:
            context.load_cert_chain(certfile, keyfile, password="")  # "": ask no terminal
    except (OSError, ssl.SSLError) as error:
        return f"{', '.join(names)}: {error.strerror or error}; write PEM files"
    return ""
