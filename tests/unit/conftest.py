"""Property tests are judged by their answers, not by how busy the machine is.

No logger keeps the configuration of its first use, as those of a service do: a test that configures
logging again, or captures it, reaches every logger, after any other tests. Tracebacks in logs are
plain: structlog's own, with colours and each local variable, cost more than the tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import pytest
import structlog
from hypothesis import settings
from structlog.dev import ConsoleRenderer, plain_traceback

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _loggers_ask_for_the_configuration() -> Iterator[None]:
    configure = structlog.configure

    def configure_uncached(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", configure_uncached)
        *processors, _ = structlog.get_config()["processors"]
        plain = ConsoleRenderer(exception_formatter=plain_traceback)
        configure_uncached(processors=[*processors, plain])
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust one of the public authorities: to read all takes 40 ms, for each client of a test."""
    pem, end, _ = Path(certifi.where()).read_text("ascii").partition("-----END CERTIFICATE-----")
    file = tmp_path_factory.mktemp("authority") / "one.pem"
    file.write_text(f"{pem}{end}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield
