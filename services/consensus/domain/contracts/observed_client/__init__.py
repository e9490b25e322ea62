"""What the contract `observed` keeps of a chain that is read from outside, and its forms."""
