"""geo-assets serve: the API and the map."""

import click
import uvicorn
from fastapi import FastAPI

from geo_assets.api.access import Access
from geo_assets.api.gate import is_loopback
from geo_assets.api.logs import configure_logs
from geo_assets.cli.console import clear_errors
from geo_assets.errors import InvalidConfiguration
from geo_assets.settings import Settings


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.option("--behind-proxy", default=None, help="Addresses of proxies whose X-Forwarded headers are believed.")
def serve_command(*, host: str, port: int, behind_proxy: str | None) -> None:
    """Serve STAC, tiles, features, jobs and the map until Ctrl-C (see docs/guides/api.md)."""
    from geo_assets.api.app import create_app  # takes seconds, for which `geo-assets --help` should not wait

    settings = Settings()
    with clear_errors():
        require_access(host, settings)
        app = create_app(settings)
    configure_logs()
    uvicorn.Server(server_config(app, host=host, port=port, behind_proxy=behind_proxy)).run()


def server_config(app: FastAPI, *, host: str, port: int, behind_proxy: str | None = None) -> uvicorn.Config:
    """How the application is served: its own log lines only, since uvicorn's would have the query in them."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        proxy_headers=behind_proxy is not None,
        forwarded_allow_ips=behind_proxy,
        timeout_graceful_shutdown=20,
    )


def require_access(host: str, settings: Settings) -> None:
    """Raise InvalidConfiguration where others could reach an API that asks for no key."""
    if Access(settings).is_open and not is_loopback(host):
        raise InvalidConfiguration(
            f"{host} is no loopback address, and there is neither a key nor an issuer of tokens.",
            remedy="Set GEO_ASSETS_API_KEYS or GEO_ASSETS_API_OIDC_ISSUER (docs/guides/api.md), or serve on 127.0.0.1.",
        )
