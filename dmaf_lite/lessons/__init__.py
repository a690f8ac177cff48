"""The lesson runner: percent sources in, executed and checked notebooks, exercises and a book out.

source.py reads a lesson, profiles.py its parameters, execute.py runs it, publish.py commits it to
``notebooks/``, check.py judges what is there, stubs.py derives exercises, book.py writes HTML.
"""
