"""Pure: what the registry decides itself. The market's rules are the contract's."""
