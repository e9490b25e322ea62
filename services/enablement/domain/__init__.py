"""Pure: the service market's words. Its rules are the contract's, not repeated here."""
