"""Why there is no TLS: an expired certificate, an unknown authority and a wrong name are told apart."""

from __future__ import annotations

import ssl

from cryptography import x509

EXPIRED, NOT_YET = 10, 9
UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
WRONG_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_…, from <openssl/x509_vfy.h>."""

ALERTS = {
    "unknown_ca": "it does not know the authority that issued it",
    "certificate_expired": "it has expired",
    "bad_certificate": "it is damaged",
    "certificate_required": "it wants one, and got none",
    "unsupported_certificate": "it was issued for something else",
    "certificate_unknown": "it is not one that it takes",
}
"""What a peer's alert says of this side's certificate, by the name of RFC 8446, 6."""


NO_TLS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
"""OpenSSL's reasons where what came was no TLS at all."""


def reason(error: Exception, tls: ssl.SSLObject | None = None) -> str:
    """What went wrong, without OpenSSL's source lines; ``tls`` is the connection on which it did."""
    at_server = tls is not None and tls.server_side
    match error:
        case ssl.SSLError() if error.reason in NO_TLS and at_server:
            return "the client does not speak TLS; give it --tls-ca, or no --tls-cert here"
        case ssl.SSLError() if error.reason in NO_TLS:
            return "the server does not speak TLS; give it --tls-cert and --tls-key, or no --tls-ca here"
        case ssl.SSLCertVerificationError():
            whose = "client" if at_server else "server"
            return f"the {whose}'s certificate is not accepted: {_refused(error, tls)}"
        case ssl.SSLEOFError() | ConnectionResetError() if at_server:
            return "the client closed the connection"
        case ssl.SSLEOFError() | ConnectionResetError():
            return (
                "the server closed the connection; does it use TLS, --tls-cert and --tls-key, "
                "or take no more connections?"
            )
        case ssl.SSLError():
            said = (error.reason or str(error).partition(" (_ssl.c")[0]).lower()
            alert = said.partition("alert_")[2]
            if alert in ALERTS:
                why = f"{ALERTS[alert]} ({said.replace('_', ' ')})"
                return f"the peer does not accept this side's certificate: {why}"
            return said.replace("_", " ")
        case OSError():
            return error.strerror or str(error)
    return str(error)


def _refused(error: ssl.SSLCertVerificationError, tls: ssl.SSLObject | None) -> str:
    found = _shown(tls)
    code, said = error.verify_code, error.verify_message.rstrip(".")
    if found is None:  # as of a client that the server refuses
        unknown = f"it was issued by an authority that is not trusted here ({said})"
        return unknown if code in UNKNOWN_AUTHORITY else said
    if code == EXPIRED:
        return f"it expired on {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if code == NOT_YET:
        return f"it holds from {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on; is this clock right?"
    if code in UNKNOWN_AUTHORITY:
        return f"it was issued by {found.issuer.rfc4514_string()}, who is not trusted here ({said})"
    if code in WRONG_NAME:
        return f"{said}; it is for {', '.join(_names(found)) or 'no name'}"
    return said


def _shown(tls: ssl.SSLObject | None) -> x509.Certificate | None:
    """What the peer has shown, which nobody vouches for; None where it has not, or Python does not tell."""
    chain = getattr(tls, "get_unverified_chain", None)  # since Python 3.13; before, of the object within
    chain = chain or getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    found = chain() if chain is not None else None
    if not found:
        return None
    first = found[0]
    try:
        if isinstance(first, bytes):
            return x509.load_der_x509_certificate(first)
        return x509.load_pem_x509_certificate(first.public_bytes().encode())
    except (AttributeError, ValueError):
        return None


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        every = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(each.value) for each in every]
