"""Pretrained bases: which there are, where they come from, and the hashes that pin them."""
