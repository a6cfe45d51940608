"""Image registries: which digest a tag has now, asked as cheaply as can be."""
