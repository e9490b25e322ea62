"""Speed against the machine's own limits: `make bench`; how to read it: bench/README.md."""
