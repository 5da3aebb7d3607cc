"""The pages for people: the map, the API's own documentation, and what /features and /raster show as HTML.

Here: which files and templates they are made of. Not here: what a browser may load (`headers`). Each script and style
is a file that is shipped: none is of another host, and none is written into a page, where a name could become one.
"""

from pathlib import Path

import jinja2
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import Scope

from geo_assets.settings import project_folder

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

    ``links`` are what stands at the head of each, by its words.
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
