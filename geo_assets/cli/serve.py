"""geo-assets serve: the API and the map."""

import click
import structlog
import uvicorn
from fastapi import FastAPI

from geo_assets.api.access import Access
from geo_assets.api.bounds import BoundedHeads
from geo_assets.api.gate import Forwarded, Proxies, is_loopback, parse_proxies
from geo_assets.api.telemetry import configure_logs
from geo_assets.cli.console import clear_errors
from geo_assets.errors import InvalidConfiguration
from geo_assets.settings import Settings

log = structlog.get_logger("geo_assets.api")


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on")
@click.option("--port", default=8000, show_default=True, help="Port to listen on")
@click.option(
    "--behind-proxy",
    default=None,
    metavar="ADDRESSES",
    help="Trusted proxies: addresses and networks, separated by commas",
)
def serve_command(*, host: str, port: int, behind_proxy: str | None) -> None:
    """Serve STAC, tiles, features, jobs and the map until Ctrl-C (see docs/guides/api.md).

    Limits of requests and refused keys are counted in each process: N replicas let through N times as many.
    """
    from geo_assets.api.app import create_app  # takes seconds, for which `geo-assets --help` should not wait

    settings = Settings()
    with clear_errors():
        proxies = parse_proxies(behind_proxy) if behind_proxy is not None else Proxies()
        require_access(host, settings)
        app = create_app(settings)
    configure_logs()
    log.info(
        "limits",
        requests_a_minute=settings.api_requests_a_minute,
        counted="in this process: each replica lets through as many",
        behind_proxy=[str(network) for network in proxies.networks],
    )
    uvicorn.Server(server_config(app, host=host, port=port, proxies=proxies)).run()


def server_config(app: FastAPI, *, host: str, port: int, proxies: Proxies | None = None) -> uvicorn.Config:
    """How the application is served: its own log lines only, since uvicorn's would have the query in them."""
    return uvicorn.Config(
        Forwarded(app, proxies or Proxies()),
        host=host,
        port=port,
        http=BoundedHeads,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        proxy_headers=False,  # `Forwarded` reads them
        timeout_graceful_shutdown=20,
    )


def require_access(host: str, settings: Settings) -> None:
    """Raise InvalidConfiguration where others could reach an API that asks for no key."""
    if Access(settings).is_open and not is_loopback(host):
        raise InvalidConfiguration(
            f"{host} is no loopback address, and there is neither a key nor an issuer of tokens.",
            remedy="Set GEO_ASSETS_API_KEYS or GEO_ASSETS_API_OIDC_ISSUER (docs/guides/api.md), or serve on 127.0.0.1.",
        )
