"""Settings of Sphinx for the book: everything local, nothing executed, and a dead link is an error."""

project = "DMAF-lite"
author = "the DMAF-lite contributors"
copyright = "text and figures: CC BY 4.0, code: Apache-2.0"
root_doc = "index"
extensions = ["myst_nb", "sphinx_design"]
exclude_patterns = ["_theme"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 4
myst_update_mathjax = False
myst_links_external_new_tab = False
nb_execution_mode = "off"  # the lessons have been run by papermill
nb_merge_streams = True
nb_ipywidgets_js = {}  # by default from a network; a page shows the widgets' pictures
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
# A saved widget is an empty space on a page; its picture is not.
nb_mime_priority_overrides = [("html", "image/png", 0), ("html", "application/vnd.jupyter.widget-view+json", None)]

# MathJax lies beside the pages.
mathjax_path = "mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full"
mathjax2_config = {
    "tex2jax": {"inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]],
                "ignoreClass": "document", "processClass": "math|output_area"},
    # The one font that lies there; without this MathJax takes a font of the computer, or none.
    "HTML-CSS": {"scale": 95, "availableFonts": [], "imageFont": None, "preferredFont": None, "webFont": "STIX-Web",
                 "linebreaks": {"automatic": True}},
    "messageStyle": "none",
}

html_theme = "sphinx_book_theme"
html_title = "DMAF-lite"
html_context = {"default_mode": "light"}  # figures are drawn on white; the reader may switch
html_static_path = ["_theme/static"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_theme_options = {
    "use_download_button": False, "use_fullscreen_button": True, "use_source_button": False,
    "use_repository_button": False, "use_issues_button": False, "use_edit_page_button": False,
    "show_toc_level": 2, "show_navbar_depth": 1, "home_page_in_toc": True, "navbar_persistent": [],
}
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]
