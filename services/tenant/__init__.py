"""The tenant service: which shops there are, who is calling, and the tokens that say so."""
