"""A brain phantom that is drawn anew in everything a real scan may vary in: domain randomisation by hand.

A network that has only seen one way of drawing learns the drawing.  Here contrast, tumour, ventricles, healthy
structures that imitate a tumour, the work of the skull stripping and the scanner are drawn anew for every case, inside
ranges that were read off real tissue.  One ingredient a file; `ingredients.py` names the switches.
"""
