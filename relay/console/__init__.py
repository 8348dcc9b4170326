"""HTTP: the staff console, the API, and what monitoring reads."""
