"""The suite on one machine: its servers, its secrets and the process that watches over them."""
