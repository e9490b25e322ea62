"""National cryptography (SM2, SM3, SM4) behind one interface."""
