"""Finetuning of Sapiens' depth and normal heads on what `synth render` made."""
