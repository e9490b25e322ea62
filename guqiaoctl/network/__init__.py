"""The one-machine network as files: who takes part, keys, certificates, genesis, settings."""
