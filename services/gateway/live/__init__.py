"""Live sessions: audio in, a talking face out, in sync and interruptible. See docs/live.md."""
