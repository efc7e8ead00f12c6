"""Generation: logits -> next token -> one compiled loop -> songs."""
