"""Version 3 of the contract `packets`: classes, deadlines, time-outs, breaker and messages."""
