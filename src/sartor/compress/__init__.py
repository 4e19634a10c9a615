"""Models on their way out, in formats that other engines read: PEFT, GGUF, a hub folder."""
