"""Mail that waits, durably: retries, pace, held mail, bounces, and answers whose arrival is in doubt."""
