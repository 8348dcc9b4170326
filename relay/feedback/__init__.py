"""What comes back: complaints and bounces, who they mean, and what follows from them."""
