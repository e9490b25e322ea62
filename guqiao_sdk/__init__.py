"""What others install: signing, an async client and offline verification."""
