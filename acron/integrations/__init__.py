"""acron inside other people's frameworks: one module each, imported by who uses it."""
