"""The documentation's settings: `nox -s docs` builds it, without the network."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_sphinx"))

from chat2pay_async import __version__  # noqa: E402 - its place in the path is above

NAVIGATION = {
    "Start": ("quickstart", "payment-links", "captures", "from-workbook-to-report"),
    "Nothing twice, nothing lost": (
        *("never-charge-twice", "outcome-unknown", "several-workers", "rate-limits", "errors"),
        "design",
    ),
    "In your application": (
        *("web-applications", "task-queues", "callbacks", "testing", "sandbox", "monitoring"),
        *("going-to-production", "migrating"),
    ),
    "Reference": ("cli", "file-columns", "reference/api", "reference/benchmarks"),
    "Project": ("reference/changelog",),
}
"""The pages below each heading of the side bar; a page that is not there is left out."""

project = "chat2pay_async"
author = "The chat2pay_async maintainers"
project_copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "pages",
    "docstrings",
]
exclude_patterns = ["_sphinx"]
highlight_language = "text"
add_module_names = False
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

myst_heading_anchors = 3
myst_enable_extensions = ["fieldlist"]
napoleon_use_ivar = True
autoclass_content = "both"
autodoc_member_order = "bysource"
default_role = "code"  # single backticks are Markdown's, in docstrings too

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = f"chat2pay_async {version}"
html_static_path = ["_sphinx/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
c2p_navigation = NAVIGATION
