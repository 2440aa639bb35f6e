"""synth: human scans in, a checked and versioned dataset of RGB / depth / normal triplets out."""
