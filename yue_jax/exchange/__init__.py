"""Weights to and from the folder format of Hugging Face's LlamaForCausalLM.

table      which of our parameters is which of their tensors
config     config.json and its neighbours
shards     safetensors files and their index
tokenizer  SentencePiece model -> tokenizer.json
card       the README of a folder
folder     the two directions: export_folder, import_folder
"""
