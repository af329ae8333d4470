"""The site of the documentation, its tables and pictures; the files that open source expects."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import solvers
from common.paths import ROOT
from docs.tools.choice import COMPARED, INSTEAD, advice
from docs.tools.headline import HEADLINE, every, headline, systems
from docs.tools.links import in_repository, in_site, replace_links
from docs.tools.pictures import DRAWN, PICTURES
from docs.tools.results import results
from docs.tools.tables import MARKED, TABLES, filled, pages
from models import capabilities


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as make docs builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Requests(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(given.get("href") or "")
        elif tag != "a":
            self.found.append(given.get("src") or "")


def test_the_site_takes_nothing_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        requests = Requests()
        requests.feed(page.read_text())
        assert not [address for address in requests.found if re.match(r"(https?:)?//", address)], page
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", styles)


def test_every_page_and_picture_is_in_the_site(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        place = Path(in_site(str(page.relative_to(ROOT))))
        built = place.with_name("index.html") if place.name == "README.md" else place.with_suffix(".html")
        assert (site / built).is_file()
    assert "Two commands" in (site / "index.html").read_text()  # the README
    assert (site / "repository/plot_data/reference/made_sampler/solving.gif").is_file()
    assert 'src="repository/plot_data/reference/made_sampler/solving.gif"' in (site / "index.html").read_text()
    assert (site / "repository/SECURITY.html").is_file()
    assert not (site / "tools").exists()


def test_the_api_has_every_public_name(site: Path) -> None:
    text = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    missing = [name for name in solvers.__all__ if f'id="solvers.{name}"' not in text]
    assert missing == ["__version__"]
    protocols = [name for name, kind in vars(capabilities).items() if getattr(kind, "_is_protocol", False)]
    here = [name for name in protocols if getattr(capabilities, name).__module__ == "models.capabilities"]
    assert len(here) > 5
    assert [name for name in here if f'id="models.capabilities.{name}"' not in text] == []


def test_links_lead_to_the_same_files_in_the_site_and_in_the_repository() -> None:
    for place in ("README.md", "docs/theory.md", "SECURITY.md", "plot_data/reference/stream/stream.png"):
        assert in_repository(in_site(place)) == place
    text = "[a](x.md#b) `c`\n\n    [code](x.md)\n```\n[code](x.md)\n```\n![d](y.png)"
    assert replace_links(text, str.upper) == text.replace("[a](x.md", "[a](X.MD").replace("y.png", "Y.PNG")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tables_are_those_of_the_results(page: Path) -> None:
    assert filled(page.read_text()) == page.read_text(), "write them anew: python -m docs.tools.tables"


def test_every_table_is_on_a_page_and_holds_what_ran() -> None:
    assert {match[2] for page in pages() for match in MARKED.finditer(page.read_text())} == set(TABLES)
    jacobi = next(row["num_steps"] for row in results("made_sampler")["rows"] if row["label"] == "jacobi")
    assert f"| `jacobi` | {jacobi} |" in TABLES["made"]()
    assert f"| `jacobi` | {jacobi}/784 |" in TABLES["solved"]("made_sampler")


def test_the_readme_s_table_fits_a_terminal_and_holds_what_ran() -> None:
    lines = headline().splitlines()
    assert max(map(len, lines)) <= 4 + 80
    assert len(lines) == 1 + len(HEADLINE)
    (made,) = systems("made_sampler")
    row = made.parallel(None)
    assert lines[1].split()[:3] == ["MADE", row["label"], f"{row['num_steps']}/784"]
    rows = {each["label"]: each["run_s"]["median"] for each in made.rows}
    assert (made.naive_s, made.cached_s) == (rows["sequential"], rows["cached_sequential"])
    (language,) = systems("language_sampler")  # of which the naive solver was not run
    assert language.naive_s == language.num_equations * language.sweep_s


def test_a_row_for_each_solver_of_each_system() -> None:
    text = every()
    assert text.count("| `gs_jacobi_pixelcnnpp_sampler` |") == len(results("gs_jacobi_pixelcnnpp_sampler")["rows"])
    assert text.count("| `when_it_pays`: ") == sum(len(each["rows"]) for each in results("when_it_pays")["systems"])
    assert "| `forward_rnn`: chaotic, 16 units | `newton` | converged |" in text
    assert "time limit reached | - | - |" in text
    several = [(each.title, each.num_equations) for each in systems("forward_rnn")]
    assert len(set(several)) == len(several) > 20


def test_the_tree_leads_to_every_solver() -> None:
    named = [name for _, leaf in advice() for name in leaf.solvers] + [name for _, names in INSTEAD for name in names]
    assert set(named) | set(COMPARED) == set(solvers.SOLVERS)
    assert not set(named) & set(COMPARED)


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_are_drawn(name: str) -> None:
    figure = DRAWN[name]()
    assert figure.axes
    assert (PICTURES / name).stat().st_size < 400_000


def test_the_version_is_the_same_everywhere() -> None:
    versions = re.findall(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == solvers.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == solvers.__version__


def test_the_citation_is_whole() -> None:
    """What the schema of CFF 1.2.0 asks for."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert all({"family-names", "given-names"} == set(author) for author in reference["authors"])
    urls = [reference["url"] for reference in citation["references"]]
    assert urls == ["https://arxiv.org/abs/2002.03629", "https://arxiv.org/abs/1611.09482"]


def test_the_hooks_of_commits_run_what_is_installed() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    entries = [hook["entry"].split() for hook in hooks[0]["hooks"]]
    assert all(hook["language"] == "system" for hook in hooks[0]["hooks"])
    makefile = (ROOT / "Makefile").read_text()
    for program, *arguments in entries:
        if program == "make":
            assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE)
        else:
            assert program.startswith(".venv/bin/")
            assert Path(sys.executable).with_name(Path(program).name).exists()
    checks = re.findall(r"^\t\$\(BIN\)/(ruff \w+|mypy)", makefile[makefile.index("\nlint:") :], re.MULTILINE)
    run = {" ".join(entry[:2]).removeprefix(".venv/bin/") for entry in entries}
    assert set(checks) == {"ruff check", "ruff format", "mypy"} <= run
