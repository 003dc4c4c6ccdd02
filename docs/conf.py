"""Settings of the documentation site: `make docs` builds it, strictly and without a network."""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # The Python reference imports TensorFlow.
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "must_keras"
author = "The must_keras authors"
project_copyright = "The must_keras authors, Apache-2.0"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "site_extensions",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

# ---- Markdown and notebooks --------------------------------------------------------------------
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
# A notebook is shown with the outputs in its file; tests/test_notebook.py executes it.
nb_execution_mode = "off"
suppress_warnings = ["mystnb.unknown_mime_type"]

# ---- the Python reference ----------------------------------------------------------------------
default_role = "literal"
nitpicky = True
# Types of other packages, and of modules that are not public: only links between pages are strict.
nitpick_ignore_regex = [("py:.*", ".*")]
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False

# ---- the pages ---------------------------------------------------------------------------------
html_theme = "furo"
html_title = "must_keras"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f5fae",
        "color-brand-content": "#1f5fae",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    },
    "dark_css_variables": {"color-brand-primary": "#7db4f5", "color-brand-content": "#7db4f5"},
    "navigation_with_keys": True,
    "top_of_page_buttons": [],
}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
