"""Everything that makes pixels: one protocol, `render(recipe) -> Sample`, and its implementations."""
