"""Ask image registries for the digest of a tag, with as few requests as possible."""
