"""Certificates: verified unless told otherwise, for requests and for the chat alike."""

from __future__ import annotations

import datetime
import io
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional

import pytest

from h2ogpte_migration.cli.parse import Options, parse
from h2ogpte_migration.run.preflight import warn_about_transport
from h2ogpte_migration.ui.console import Console

from .harness import Result, run, serving, small_world

pytest.importorskip("cryptography")


@dataclass(frozen=True)
class Authority:
    """A certificate authority and what it has signed, as files."""

    folder: Path
    key: Any
    certificate: Any

    @property
    def file(self) -> Path:
        """What ``--cert`` wants."""
        return self.folder / "authority.pem"

    def server(self, host: str) -> ssl.SSLContext:
        """A server's side for ``host``."""
        return _context(self.folder, host, self)


def _certificate(name: str, key: Any, issuer: Optional[Authority], host: Optional[str]) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    alone = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        .add_extension(alone, critical=False)
    )
    if host is None:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        names: List[Any] = [x509.DNSName(host)]
        if host[0].isdigit():
            names = [x509.IPAddress(ipaddress.ip_address(host))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if issuer is not None:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(above, critical=False)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    data: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return data


def _context(folder: Path, host: str, issuer: Optional[Authority]) -> ssl.SSLContext:
    from cryptography.hazmat.primitives import serialization

    key = _new_key()
    file = folder / f"server-{host}.pem"
    file.write_bytes(
        _pem(_certificate("server", key, issuer, host))
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return an authority of one's own."""
    key = _new_key()
    certificate = _certificate("A small authority", key, None, None)
    made = Authority(tmp_path, key, certificate)
    made.file.write_bytes(_pem(certificate))
    return made


def _migrate(url: str, folder: Path, *more: str) -> Result:
    words = ["--url", url, "--admin-key", "sk-sandbox-admin", "--all-users", "--retries", "0"]
    words += ["--use-model-mappings", "--wait-for-completion", "--verify-query", "What is it?"]
    words += ["--query-timeout", "86400"]  # of a clock that jumps while others wait
    return run(folder, *words, *more)


def _nothing_was_sent(server: Any) -> bool:
    return not server.requests


def test_a_self_signed_server_is_refused_with_a_hint(clock: Any, tmp_path: Path) -> None:
    with serving(small_world(), ssl_context=_context(tmp_path, "127.0.0.1", None)) as server:
        result = _migrate(server.url, tmp_path / "run")
        assert _nothing_was_sent(server)
    assert result.code == 2
    assert "is not trusted" in result.err
    assert "--cert FILE" in result.err
    assert "--insecure" in result.err
    assert len(result.err.splitlines()) == 2


def test_cert_is_trusted_for_requests_and_for_the_chat(
    clock: Any, authority: Authority, tmp_path: Path
) -> None:
    with serving(small_world(), ssl_context=authority.server("127.0.0.1")) as server:
        result = _migrate(server.url, tmp_path / "run", "--cert", str(authority.file))
        asked = sum(request.route == "GET /ws" for request in server.requests)
    assert result.code == 0, result.text
    assert asked == 3
    assert result.out.count("RAG check passed") == 3
    assert "Warning: the server" not in result.text


def test_cert_replaces_the_trust_in_others(
    clock: Any, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    key = _new_key()
    other = Authority(tmp_path / "other", key, _certificate("Another one", key, None, None))
    with serving(small_world(), ssl_context=other.server("127.0.0.1")) as server:
        result = _migrate(server.url, tmp_path / "run", "--cert", str(authority.file))
        assert _nothing_was_sent(server)
    assert result.code == 2
    assert "is not trusted" in result.err


def test_a_certificate_for_another_host_is_refused(
    clock: Any, authority: Authority, tmp_path: Path
) -> None:
    with serving(small_world(), ssl_context=authority.server("h2ogpte.example.com")) as server:
        result = _migrate(server.url, tmp_path / "run", "--cert", str(authority.file))
        assert _nothing_was_sent(server)
    assert result.code == 2
    assert "is not trusted" in result.err
    assert "127.0.0.1" in result.err
    assert ".." not in result.err


def test_insecure_accepts_any_certificate_and_warns(clock: Any, tmp_path: Path) -> None:
    with serving(small_world(), ssl_context=_context(tmp_path, "127.0.0.1", None)) as server:
        result = _migrate(server.url, tmp_path / "run", "--insecure")
    assert result.code == 0, result.text
    assert "Warning: the server's certificate is not verified (--insecure)." in result.out
    assert result.out.count("RAG check passed") == 3


@pytest.mark.parametrize(
    "content",
    [None, b"", b"not a certificate\n", b"\x30\x82\x01\x00" * 9, b"-----BEGIN CERTIFICATE-----\n"],
    ids=["missing", "empty", "text", "binary", "cut"],
)
def test_a_file_without_certificates_is_refused_before_anything_is_sent(
    content: Optional[bytes], clock: Any, authority: Authority, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_bytes(content)
    with serving(small_world(), ssl_context=authority.server("127.0.0.1")) as server:
        result = _migrate(server.url, tmp_path / "run", "--cert", str(bad))
        assert _nothing_was_sent(server)
    assert result.code == 2
    assert "--cert" in result.err
    assert "bad.pem" in result.err
    assert not list((tmp_path / "run").iterdir())


def test_https_to_a_plain_port_says_which_scheme_to_write(clock: Any, tmp_path: Path) -> None:
    with serving(small_world()) as server:
        result = _migrate(server.url.replace("http:", "https:"), tmp_path / "run")
    assert result.code == 2
    assert "Write http:// in --url." in result.err


# -- a key over plain http -----------------------------------------------------------------
def _warnings(url: str, tmp_path: Path, *more: str) -> str:
    out = io.StringIO()
    words = ["--url", url, "--user-key", "sk-key", "--use-model-mappings", *more]
    options: Options = parse(words, {}, tmp_path, lambda: "")
    warn_about_transport(options, Console(out, out))
    return out.getvalue()


@pytest.mark.parametrize("host", ["h2ogpte.example.com", "10.0.0.7", "[2001:db8::1]", "128.0.0.1"])
def test_a_key_over_plain_http_to_another_host_is_warned_about(host: str, tmp_path: Path) -> None:
    assert "unencrypted" in _warnings(f"http://{host}:8080", tmp_path)
    assert _warnings(f"https://{host}", tmp_path) == ""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]"])
def test_plain_http_to_this_computer_is_no_matter(host: str, tmp_path: Path) -> None:
    assert _warnings(f"http://{host}:8080", tmp_path) == ""


def test_a_host_that_only_looks_like_this_computer_is_warned_about(tmp_path: Path) -> None:
    assert "unencrypted" in _warnings("http://127.0.0.1.example.com", tmp_path)
