"""Weights to and from the folder format of Hugging Face's LlamaForCausalLM.

table      which of our parameters is which of their tensors
config     config.json and its neighbours
shards     safetensors files and their index
checksums  SHA-256 of every tensor
tokenizer  SentencePiece model -> tokenizer.json
card       the README of a folder
blocks     one tensor, a block of rows at a time
transfer   all tensors, by a few threads
mean       of several checkpoints
folder     the two directions: export_folder, import_folder
"""
