"""What the documentation site has beside `docs`: the README, the changes, the reference.

`mkdocs.yml` names this file as its hook. Links that lead out of `docs` lead to those pages.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

PAGES = {
    "README.md": "index.md",
    "CHANGES.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
"""Pages of the site that are files in the project's root."""

REFERENCE_INTRODUCTION = """\
# Reference

The public names with their signatures and docstrings; [the public interface](api.md) says what is
promised of them.
"""

_LINK = re.compile(r"\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in `docs` (a hook of MkDocs)."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=rewritten(text, ROOT, page)))
    files.append(File.generated(config, "reference.md", content=reference()))
    files.append(File.generated(config, "decisions/index.md", content=decisions()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page of `docs` (a hook of MkDocs)."""
    source = page.file.abs_src_path
    if source is None:
        return markdown
    return rewritten(markdown, Path(source).parent, page.file.src_uri)


def rewritten(text: str, folder: Path, page: str) -> str:
    """Return Markdown whose relative links are those of the site.

    folder: where the text is. page: what it is on the site. Links to files that are on no page
    become plain text.
    """
    depth = page.count("/")

    def replace(match: re.Match[str]) -> str:
        target = (folder / match[1]).resolve()
        if not target.is_relative_to(ROOT):
            return match[0]
        name = target.relative_to(ROOT).as_posix()
        if name in PAGES:
            name = PAGES[name]
        elif name.startswith("docs/"):
            name = name.removeprefix("docs/")
            if target.is_dir():
                name += "/index.md"
        else:
            return f"] (`{name}`)"
        return f"]({'../' * depth}{name}{match[2] or ''})"

    changed = _LINK.sub(replace, text)
    return re.sub(r"\[([^]]*)\] \((`[^)]*`)\)", r"\1 (\2)", changed)


def reference() -> str:
    """Return the page of the reference: every public name, from where it is defined."""
    parts = [REFERENCE_INTRODUCTION]
    for package in ("flasknado", "flasknado.live"):
        parts.append(f"## {package}\n")
        parts += [f"::: {home}.{name}\n" for name, home in sorted(homes(package).items())]
        parts += [f"::: {package}.{name}\n" for name in functions(package)]
    return "\n".join(parts)


def homes(package: str) -> dict[str, str]:
    """Return where the names that a package exports lazily are defined."""
    for node in ast.walk(_tree(package)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazily":
            table: dict[str, str] = ast.literal_eval(node.args[1])
            return table
    raise LookupError(f"{package} does not call lazily()")


def functions(package: str) -> list[str]:
    """Return the public functions that a package defines itself."""
    return [
        node.name
        for node in _tree(package).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def decisions() -> str:
    """Return the list of decisions."""
    lines = ["# Decisions", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title.replace('. ', ': ', 1)}]({path.name})")
    return "\n".join(lines) + "\n"


def _tree(package: str) -> ast.Module:
    path = ROOT.joinpath(*package.split(".")) / "__init__.py"
    return ast.parse(path.read_text(encoding="utf-8"))
