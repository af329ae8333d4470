"""Training: one resumable loop over tasks, and the evaluation of what it trained."""
