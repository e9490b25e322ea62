"""Structure-aware fuzzing: whatever bytes come, a decoder gives a value or a typed rejection."""
