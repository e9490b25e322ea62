"""The cross-chain link: both ends of it."""
