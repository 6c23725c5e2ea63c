"""nginx in front of the stored files (wis2-rules.md 26, 27)."""

from __future__ import annotations

import http.client
import os
import resource
import secrets
from typing import TYPE_CHECKING

from local.parts.local_server import LocalServer, current_user
from wis2_gc_common.wis2.media_type import DEFAULT_MEDIA_TYPE, nginx_try_files, nginx_types

if TYPE_CHECKING:
    from pathlib import Path

    from local.parts.certificates import CertificateAuthority

_PROBE_TIMEOUT_S = 2
#: Each download uses one descriptor for the connection and one for the file.
_MAX_OPEN_FILES = 20_000
_WORKERS = 2
#: Headers of a bucket that we hide; some are set again.
_HEADERS_OF_BUCKETS = (
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Cache-Control",
    "X-Amz-Content-Sha256",
    "X-Amz-Date",
    "X-Amz-Id-2",
    "X-Amz-Request-Id",
)


class Nginx(LocalServer):
    """Serves objects as `{base_url}/{key}`: GET and HEAD, and nothing else.

    The objects are the files under `root`, or those of a bucket at `bucket_url`: an S3 server on
    this machine that requires no signature. With an `authority` also over TLS on `tls_port`. A
    client address may have `connections_per_address` at once; above that it gets 429; 0: no limit.
    """

    def __init__(
        self,
        directory: Path,
        *,
        root: Path | None = None,
        bucket_url: str = "",
        port: int | None = None,
        tls_port: int | None = None,
        host: str = "127.0.0.1",
        path: str = "/data",
        authority: CertificateAuthority | None = None,
        log_file: Path | None = None,
        connections_per_address: int = 0,
    ) -> None:
        self.name = "nginx"
        if (root is None) is not bool(bucket_url):
            raise ValueError("the objects are either files or in a bucket")
        self.root = None if root is None else root.absolute()
        self.bucket_url = bucket_url
        self.path = path.rstrip("/")
        if not self.path.startswith("/"):
            raise ValueError("the objects need a path of their own, such as /data")
        ports = {"http": port}
        if authority is not None:
            ports["https"] = tls_port
        super().__init__(directory, host=host, ports=ports, log_file=log_file)
        self._certificate = None if authority is None else authority.certificate("data")
        self._connections_per_address = connections_per_address
        #: Only the process that we configured answers this.
        self._probe = f"/probe-{secrets.token_hex(8)}"

    @property
    def port(self) -> int:
        """Port of HTTP."""
        return self._ports["http"]

    @property
    def tls_port(self) -> int:
        """Port of HTTPS. Raises KeyError without an authority."""
        return self._ports["https"]

    @property
    def _reachable_host(self) -> str:
        return "127.0.0.1" if self.host in ("", "0.0.0.0") else self.host

    @property
    def base_url(self) -> str:
        """`GC_DATA_BASE_URL` for clients on this machine."""
        return f"http://{self._reachable_host}:{self.port}{self.path}"

    def configuration(self) -> str:
        """Return the text of nginx.conf."""
        state = self.directory
        user = f"user {current_user()};" if os.geteuid() == 0 else ""
        open_files = _allowed_open_files()
        temporary = "\n    ".join(
            f'{kind}_temp_path "{state}/temporary/{kind}";'
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        host = self.host or "0.0.0.0"
        listens = f"listen {host}:{self.port} backlog=4096;"
        if self._certificate is not None:
            listens += f"""
        listen {host}:{self.tls_port} ssl backlog=4096;
        ssl_certificate "{self._certificate.chain_file}";
        ssl_certificate_key "{self._certificate.key_file}";
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:2m;"""
        types = nginx_types().replace("\n", "\n        ").rstrip()
        # A location that adds a header inherits none of these: so there is one list for all.
        return f"""\
daemon off;
{user}
worker_processes {_WORKERS};
worker_rlimit_nofile {open_files};
pid "{state}/nginx.pid";
lock_file "{state}/nginx.lock";
error_log "{self.log_file}" warn;
events {{
    worker_connections {open_files // 2};
    multi_accept on;
}}
http {{
    access_log off;
    server_tokens off;
    {temporary}
    types {{
        {types}
    }}
    types_hash_max_size 2048;
    default_type {DEFAULT_MEDIA_TYPE};
    sendfile on;
    # A fast client must not keep a worker from the others.
    sendfile_max_chunk 512k;
    tcp_nopush on;
    # No open_file_cache: it would serve the old bytes of a file that was replaced.
    open_file_cache off;
    autoindex off;
    etag on;
    gzip off;
    keepalive_timeout 30s;
    keepalive_requests 10000;
    client_header_timeout 15s;
    client_body_timeout 15s;
    send_timeout 60s;
    reset_timedout_connection on;
    client_max_body_size 1k;
    {self._limit()}
    server {{
        {listens}
        add_header X-Content-Type-Options nosniff always;
        add_header Content-Security-Policy "sandbox; default-src 'none'" always;
        add_header Cache-Control $cache_control always;
        add_header Allow $allow always;
        error_page 403 404 @missing;
        error_page 405 @read_only;
        if ($request_method !~ ^(GET|HEAD)$) {{
            return 405;
        }}
        location = {self._probe} {{
            return 204;
        }}
        # Uploads in progress and what is about to be deleted.
        location ~ /\\. {{
            return 404;
        }}
        # The bucket's list of objects is not public.
        location = {self.path}/ {{
            return 404;
        }}
        # nginx would redirect it to the Host that the request names.
        location = {self.path} {{
            return 404;
        }}
        location {self.path}/ {{
            {self._objects()}
        }}
        location / {{
            return 404;
        }}
        location @missing {{
            types {{}}
            default_type text/plain;
            return 404 "There is no such object.\n";
        }}
        location @read_only {{
            types {{}}
            default_type text/plain;
            return 405 "Objects can be read, with GET and HEAD.\n";
        }}
    }}
    # An object never changes under its name; an error may be over in a moment.
    map $status $cache_control {{
        ~^(200|206|304)$ "public, max-age=86400, immutable";
        default "no-store";
    }}
    map $status $allow {{
        405 "GET, HEAD";
        default "";
    }}
}}
"""

    def _limit(self) -> str:
        """Return the limits of one client address (wis2-rules.md 27)."""
        if not self._connections_per_address:
            return ""
        lines = (
            "limit_conn_zone $binary_remote_addr zone=addresses:10m;",
            f"limit_conn addresses {self._connections_per_address};",
            "limit_conn_status 429;",
            # Anybody could fill the log.
            "limit_conn_log_level info;",
        )
        return "\n    ".join(lines)

    def _objects(self) -> str:
        """Return the body of the location of the objects."""
        lines: tuple[str, ...]
        if self.root is not None:
            lines = (
                f'root "{self.root}";',
                f"rewrite ^{self.path}(/.*)$ $1 break;",
                f"try_files {nginx_try_files()} =404;",
            )
        else:
            lines = (
                # Readers get no sub-resources of an object; `?uploads` and the like are such.
                'set $args "";',
                f"proxy_pass {self.bucket_url}/;",
                "proxy_http_version 1.1;",
                'proxy_set_header Connection "";',
                'proxy_set_header Authorization "";',
                # rclone sends the part, but marks it as the whole.
                'proxy_set_header Range "";',
                "proxy_force_ranges on;",
                "proxy_intercept_errors on;",
                *(f"proxy_hide_header {name};" for name in _HEADERS_OF_BUCKETS),
                "proxy_buffers 16 64k;",
                "proxy_max_temp_file_size 0;",
            )
        return "\n            ".join(lines)

    def _configure(self) -> list[str]:
        (self.directory / "temporary").mkdir(parents=True, exist_ok=True)
        if self.root is not None:
            self.root.mkdir(parents=True, exist_ok=True)
        path = self.directory / "nginx.conf"
        path.write_text(self.configuration(), encoding="utf-8")
        return ["nginx", "-p", str(self.directory), "-c", str(path), "-e", str(self.log_file)]

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(
            self._reachable_host, self.port, timeout=_PROBE_TIMEOUT_S
        )
        try:
            connection.request("GET", self._probe)
            return connection.getresponse().status == http.HTTPStatus.NO_CONTENT
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _allowed_open_files() -> int:
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MAX_OPEN_FILES if hard_limit < 0 else min(_MAX_OPEN_FILES, hard_limit)
