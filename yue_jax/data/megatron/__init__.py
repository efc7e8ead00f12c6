"""Megatron's indexed data sets, read, written and described."""
