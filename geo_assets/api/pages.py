"""The pages for people (map, API documentation, what /features and /raster show as HTML), and what browsers are told.

Here: which files and templates pages are made of, and the headers of every answer: what a page may load, and who may
show it. Each script and style is a file that is shipped: none is of another host, and none is written into a page,
where a name could become one.
"""

from pathlib import Path

import jinja2
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_assets.settings import project_folder

# Only what is shipped: no script, style, picture or request of anywhere else, and none that is written into a page.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# What is not a page shows nothing, whatever a browser takes it for.
DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # For what a page merely embeds. What it asks for by CORS, as a map its tiles, with a key, is not held by this.
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class SecurityHeaders:
    """The middleware that adds them to each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A worker is held by the policy of its own script.
        is_file = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_page = is_file or headers.get("content-type", "").startswith("text/html")
                headers["content-security-policy"] = PAGE_POLICY if is_page else DATA_POLICY
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)


_FOLDER = Path(__file__).resolve().parent
_FRESH = {"Cache-Control": "no-cache"}
# The npm packages that pages load, and the files of each that they need.
_PACKAGES = {
    "maplibre-gl": ("dist", {"maplibre-gl.css", "maplibre-gl-csp.js", "maplibre-gl-csp-worker.js"}),
    "swagger-ui-dist": ("", {"swagger-ui.css", "swagger-ui-bundle.js"}),
    "topojson-client": ("dist", {"topojson-client.min.js"}),
    "world-atlas": ("", {"countries-110m.json"}),
}
_DOCS_ROUTES = ("swagger_ui_html", "swagger_ui_redirect")


class PackageFiles(StaticFiles):
    """Some files of an npm package, and nothing else of it."""

    def __init__(self, directory: Path, files: set[str]) -> None:
        super().__init__(directory=directory, check_dir=False)
        self.config_checked = True  # a package that is not installed is 404 for each file, not 500 for the first
        self._files = files

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 404."""
        return await super().get_response(path if path in self._files else "", scope)


def page_templates(package: str, links: dict[str, str]) -> Jinja2Templates:
    """The templates of a library's pages, of which those that would load or write scripts are ours instead.

    ``links`` are the addresses at the head of each page, by their words.
    """
    loaders = [jinja2.FileSystemLoader(_FOLDER / "templates"), jinja2.PackageLoader(package, "templates")]
    environment = jinja2.Environment(loader=jinja2.ChoiceLoader(loaders), autoescape=True)
    environment.globals["links"] = {"Map": "/", **links}
    return Jinja2Templates(env=environment)


def serve_map(app: FastAPI) -> None:
    """Add the map at /, and the files of all pages below /static."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(_FOLDER / "static" / "index.html", headers=_FRESH)

    for package, (folder, files) in _PACKAGES.items():
        place = project_folder() / "node_modules" / package / folder
        app.mount(f"/static/{package}", PackageFiles(place, files), name=package)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")


def serve_docs(app: FastAPI) -> None:
    """Put our page of documentation in place of FastAPI's, which loads scripts of another host."""
    path, schema = str(app.docs_url), str(app.openapi_url)
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "name", "") not in _DOCS_ROUTES]
    templates = Jinja2Templates(directory=_FOLDER / "templates")

    @app.get(path, include_in_schema=False, name=_DOCS_ROUTES[0])
    async def docs(request: Request) -> Response:
        told = {"title": app.title, "schema": schema.rpartition("/")[2]}  # beside this page
        return templates.TemplateResponse(request, "docs.html", told, headers=_FRESH)
