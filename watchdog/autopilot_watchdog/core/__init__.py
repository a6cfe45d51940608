"""The pure core: what is seen and what is remembered in, what to do and why out. Opens nothing, reads no clock."""
