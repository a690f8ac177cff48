"""The neighbours' methods, each from its publication; `published_results` holds what they printed."""
