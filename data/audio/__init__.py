"""Sound: wave files, clips, and streams that come chunk by chunk."""
