"""Moving from the predecessor's database to Rapport and back: planning, running, checking, cutting over."""
