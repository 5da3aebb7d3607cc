"""What mkdocs is told beside mkdocs.yml: the diagrams' library, and links from pages into the rest of the checkout.

Here: hooks that mkdocs calls while it builds. Not here: pages that are made from code (`scripts.reference_pages`).
"""

import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

MERMAID = Path("node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js")
"""The theme takes a `mermaid` that is there, and else fetches one from another server."""
_LINK = re.compile(r"\[(?P<words>[^\]\[]+)\]\((?P<target>(?:\.\./)+[^)#\s]+)(?:#[^)]*)?\)")

log = logging.getLogger("mkdocs.hooks.geo_assets")  # below mkdocs, so that --strict counts its warnings


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the diagrams' library."""
    source = _checkout(config) / MERMAID
    if not source.exists():
        log.warning("%s is missing: `make docs` brings it", MERMAID)
        return files
    files.append(File.generated(config, "assets/mermaid.js", abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, **_: Any) -> str:
    """Say where a file is that lies outside of the site, in place of a link to it; warn where there is none."""
    docs, checkout = Path(config.docs_dir), _checkout(config)
    folder = (docs / page.file.src_uri).parent

    def outside(match: re.Match[str]) -> str:
        target = (folder / match["target"]).resolve()
        if target.is_relative_to(docs):
            return match[0]
        if not target.is_relative_to(checkout) or not target.exists():
            log.warning("%s links to %s, which is not there", page.file.src_uri, match["target"])
            return match["words"]
        path = f"`{target.relative_to(checkout)}`"
        return path if match["words"].strip("`") in (target.name, path.strip("`")) else f"{match['words']} ({path})"

    return _LINK.sub(outside, markdown)


def _checkout(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path or "mkdocs.yml").resolve().parent
