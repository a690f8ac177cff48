"""From weights to a long table: windows, metrics under named conventions, statistics; and `predict`."""
