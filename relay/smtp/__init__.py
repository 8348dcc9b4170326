"""The submission edge: pure parsers and one aiosmtpd subclass."""
