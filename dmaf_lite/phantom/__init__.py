"""Synthetic studies that stand in for patients: same files on disk as the real cohorts, made from a seed.

fields.py holds chance and space, brain/ the recipe of a head with a tumour, heart/ that of a heart with an infarct,
writing.py puts cases on disk, ready.py is a cohort that is made once.
"""
