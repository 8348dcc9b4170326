"""What customers, staff and their programs are told when a standing changes."""
