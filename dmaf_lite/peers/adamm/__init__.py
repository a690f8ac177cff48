"""AdaMM: network and its parts (garm, adapters, presence), objective and its parts (style, discriminator)."""
