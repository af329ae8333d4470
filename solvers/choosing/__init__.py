"""Which solver is fastest for a system on this device: measured in short pilots, and predicted from them."""
