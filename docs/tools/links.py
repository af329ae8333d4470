"""A hook of MkDocs: a link of a page works on GitHub, where it leads through the repository, and in the site.

A page of ``docs/`` may link to any file of the repository. The README is the start page of the site; other files
outside ``docs/`` that some page links to are copied under ``repository/``, pages among them as pages. Links are
rewritten to where their targets lie in the site. A target that is not there is left as it is, so that a strict build
fails at it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
START, DOCS, COPIES = "README.md", "docs/", "repository/"
FENCE = re.compile(r"^\s*```")
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")


def in_site(path: str) -> str:
    """Where a file of the repository lies in the site's sources."""
    if path == START:
        return "index.md"
    return path.removeprefix(DOCS) if path.startswith(DOCS) else COPIES + path


def in_repository(uri: str) -> str:
    """The inverse of ``in_site``."""
    if uri == "index.md":
        return START
    return uri.removeprefix(COPIES) if uri.startswith(COPIES) else DOCS + uri


def replace_links(text: str, replace: Callable[[str], str]) -> str:
    """The text with ``replace`` applied to every target of a link outside of code; anchors stay as they are."""
    lines, fenced = text.split("\n"), False
    for number, line in enumerate(lines):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            lines[number] = LINK.sub(lambda match: replace(match[1]), line)
    return "\n".join(lines)


def target(page: str, link: str) -> str | None:
    """The file of the repository that a link of a page leads to; None if it leads to the web or nowhere."""
    path = os.path.normpath(PurePosixPath(page).parent / link)
    return path if not re.match(r"\w+:", link) and (ROOT / path).is_file() else None


def linked_files(pages: list[str]) -> set[str]:
    """The files outside of ``docs/`` that pages link to, and those that these link to in turn."""
    found: set[str] = set()
    ahead = [START, *pages]
    while ahead:
        page = ahead.pop()

        def note(link: str, page: str = page) -> str:
            path = target(page, link)
            if path is not None and path not in found and not path.startswith(DOCS):
                found.add(path)
                ahead.extend([path] if path.endswith(".md") else [])
            return link

        replace_links((ROOT / page).read_text(), note)
    return found | {START}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README and what the pages link to outside of ``docs/``."""
    pages = [in_repository(file.src_uri) for file in files.documentation_pages()]
    for path in sorted(linked_files(pages)):
        files.append(File.generated(config, in_site(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point every link of a page to where its target lies in the site."""
    here = in_repository(page.file.src_uri)

    def rewritten(link: str) -> str:
        path = target(here, link)
        if path is None:
            return link
        return PurePosixPath(os.path.relpath(in_site(path), PurePosixPath(page.file.src_uri).parent)).as_posix()

    return replace_links(markdown, rewritten)
