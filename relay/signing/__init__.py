"""What Gatepost adds to a message: the feedback token, DKIM signatures, and the lines that carry them."""
