"""The demo world: two invented shops with customers, purchase histories and a morning's tickets."""
