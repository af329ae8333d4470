"""Results of several runs side by side: what they were asked, what they took, and whether they answer the same."""
