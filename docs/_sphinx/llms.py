"""Write llms.txt, a list of all pages, and llms-full.txt, all of them as one text.

Guides go into it as they are written, the API as Sphinx's text builder renders it:
`python docs/_sphinx/llms.py docs-html`, after both builds.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["main"]

DOCS = Path(__file__).parent.parent
sys.path.insert(0, str(DOCS))

from conf import NAVIGATION  # noqa: E402 - its place in the path is above


def _brief(text: str) -> tuple[str, str]:
    """Return the title of a page, and the first sentence below it."""
    body = re.sub(r"<!--.*?-->|```.*?```", "", text, flags=re.DOTALL)
    title = re.search(r"^# (.*)$", body, re.MULTILINE)
    if title is None:
        raise ValueError(f"a page has no title: {text[:80]}")
    paragraphs = re.findall(r"^(?![#|\-\[]).+(?:\n.+)*", body[title.end() :], re.MULTILINE)
    sentence = re.split(r"(?<=[.!?]) ", " ".join(paragraphs[0].split()))[0] if paragraphs else ""
    return title[1].strip("`"), sentence


def _sources(page: str) -> list[str]:
    """Return the sources of a page; of the API, one for each module."""
    source = DOCS / f"{page}.md"
    if page == "reference/api":
        modules = re.findall(r"^chat2pay_async[\w.]*$", source.read_text("utf-8"), re.MULTILINE)
        return [f"reference/{module}" for module in modules]
    # The changelog and the benchmarks are of no use to whoever writes a program.
    return [page] if source.exists() and not page.startswith("reference/") else []


def main(folder: Path) -> None:
    """Write both files, and each page as text beside its HTML."""
    introduction = (DOCS / "index.md").read_text("utf-8")
    title, sentence = _brief(introduction)
    lines, full = [f"# {title}", "", f"> {sentence}"], [introduction]
    for caption, pages in NAVIGATION.items():
        names = [name for page in pages for name in _sources(page)]
        lines += ["", f"## {caption}", ""] if names else []
        for name in names:
            source = DOCS / f"{name}.md"
            is_written = name.startswith("reference/")
            shown = folder / "_text" / f"{name}.txt" if is_written else source
            copy = (folder / name).with_name(shown.name)
            copy.write_text(shown.read_text("utf-8"), "utf-8")
            heading, sentence = _brief(source.read_text("utf-8"))
            lines.append(f"- [{heading}]({copy.relative_to(folder)}): {sentence}")
            full.append(copy.read_text("utf-8"))
    (folder / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "llms-full.txt").write_text("\n\n".join(full), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
