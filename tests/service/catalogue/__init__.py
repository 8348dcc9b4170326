"""Known attacks and broken networks against the real daemon; each test names the case that it is about."""
