"""How each generator is trained: one readable script a family."""
