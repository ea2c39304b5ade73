"""`rapport doctor`: everything that can be looked at, each thing with what to do about it."""
