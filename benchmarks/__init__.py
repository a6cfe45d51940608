"""How quick and how small the supervisor is, beside its peers: `make bench`. README.md says how to read the table."""
