"""The connections to the server: whose certificates to trust, and which proxy leads there.

It sends nothing itself. What it hands out neither retries nor follows redirects unless told to:
that is the transport's to decide.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Tuple, Union
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from h2ogpte_migration.errors import UsageError
from h2ogpte_migration.redact import register
from h2ogpte_migration.ui.text import safe

if TYPE_CHECKING:
    from urllib3 import PoolManager

CA_BUNDLE = "REQUESTS_CA_BUNDLE"


# -- certificates ------------------------------------------------------------------------
@dataclass(frozen=True)
class Trust:
    """Whose certificates are accepted.

    Args:
        context: for requests; None where nothing is encrypted.
        verify: the same for the websocket: a file, the system's store (True) or any (False).
    """

    context: Optional[ssl.SSLContext]
    verify: Union[bool, str]


def trust_for(base_url: str, ca_cert: Optional[str], insecure: bool) -> Trust:
    """What to trust: ``--cert`` alone, else ``REQUESTS_CA_BUNDLE`` alone, else the system's store.

    OpenSSL finds that store itself, and heeds ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.

    Raises:
        UsageError: a file that was named can't be used.
    """
    named = _named_trust("--cert", ca_cert) if ca_cert is not None else None
    if insecure:
        return Trust(_trusting_anybody(), False)
    if named is None and urlsplit(base_url).scheme == "https":
        bundle = os.environ.get(CA_BUNDLE)
        named = _named_trust(CA_BUNDLE, bundle) if bundle else _system_trust()
    return named or Trust(None, True)


def _named_trust(source: str, path: str) -> Trust:
    try:
        if Path(path).is_dir():
            # The websocket takes files only; it is left with the system's store.
            return Trust(_context(capath=path), True)
        return Trust(_context(cafile=path), path)
    except OSError as error:
        why = safe(error.strerror or str(error))
        raise UsageError([f"{source} {safe(path)} can't be used: {why}."]) from error


def _system_trust() -> Trust:
    context = _context()
    if _knows_authorities(context):
        return Trust(context, True)
    with suppress(ImportError, OSError):
        import certifi

        return Trust(_context(cafile=certifi.where()), certifi.where())
    return Trust(context, True)


def _knows_authorities(context: ssl.SSLContext) -> bool:
    """Whether the store holds any, or the environment says which to use, right or wrong.

    Of a folder OpenSSL reads what it needs when it needs it.
    """
    paths = ssl.get_default_verify_paths()
    if os.environ.get(paths.openssl_cafile_env) or os.environ.get(paths.openssl_capath_env):
        return True
    if context.cert_store_stats()["x509"]:
        return True
    with suppress(OSError):
        return bool(paths.capath and list(Path(paths.capath).iterdir()))
    return False


def _context(**where: str) -> ssl.SSLContext:
    context = ssl.create_default_context(**where)  # type: ignore[arg-type]
    # Python 3.8 and 3.9 would still speak what nobody should.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


# -- pools -------------------------------------------------------------------------------
def open_pools(base_url: str, trust: Trust, max_in_flight: int) -> PoolManager:
    """Connections to a server, by way of the proxy that the environment names, if any.

    Raises:
        UsageError: the proxy can't be used.
    """
    import urllib3

    if trust.verify is False:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    options: Dict[str, Any] = {"maxsize": max_in_flight, "ssl_context": trust.context}
    proxy, opener = proxy_for(base_url)
    if proxy is None:
        return urllib3.PoolManager(**options)
    try:
        if _is_socks(proxy):
            return _socks_manager(proxy, options)
        return urllib3.ProxyManager(
            proxy, proxy_headers=opener, proxy_ssl_context=trust.context, **options
        )
    except ValueError as error:
        raise UsageError([f"The proxy can't be used: {safe(str(error))}."]) from error


def sender(pools: PoolManager, base_url: str) -> Callable[..., Any]:
    """``urlopen`` for paths on the server: straight to its connections, without a look-up.

    Of an HTTP proxy the manager has to decide each time what to say to it.
    """
    if pools.proxy is not None:
        parts = urlsplit(base_url)
        return lambda method, path, **more: pools.urlopen(
            method, f"{parts.scheme}://{parts.netloc}{path}", **more
        )
    return partial(pools.connection_from_url(base_url).urlopen, assert_same_host=False)


def _is_socks(proxy: str) -> bool:
    return proxy.lower().startswith("socks")


def _socks_manager(proxy: str, options: Dict[str, Any]) -> PoolManager:
    if importlib.util.find_spec("socks") is None:
        raise UsageError(
            ["The proxy in the environment is a SOCKS proxy: pip install pysocks to use it."]
        )
    from urllib3.contrib.socks import SOCKSProxyManager

    return SOCKSProxyManager(proxy, **options)


# -- proxies -----------------------------------------------------------------------------
def proxy_for(base_url: str) -> Tuple[Optional[str], Optional[Dict[str, str]]]:
    """The proxy that the environment names for a server, and the headers that open it.

    This computer itself is never asked for through a proxy.

    Raises:
        UsageError: the setting is no url.
    """
    parts = urlsplit(base_url)
    if _is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None, None
    proxies = getproxies()
    setting = proxies.get(parts.scheme) or proxies.get("all")
    if not setting:
        return None, None
    return _without_credentials(setting if "://" in setting else f"http://{setting}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_credentials(proxy: str) -> Tuple[str, Optional[Dict[str, str]]]:
    """An HTTP proxy's url without user and password, which go into a header instead."""
    from urllib3 import make_headers

    try:
        parts = urlsplit(proxy)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise UsageError(["The proxy in the environment (HTTPS_PROXY) is no url."]) from None
    password = unquote(parts.password or "")
    register(password)
    if parts.username is None or not parts.scheme.startswith("http"):
        return proxy, None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    bare = urlunsplit((parts.scheme, f"{host}{port}", parts.path, "", ""))
    opener = make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{password}")
    return bare, dict(opener)
