"""One module an operation: its body, its checks in order, its effect."""
