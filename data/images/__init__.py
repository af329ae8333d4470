"""Images: datasets with a fixed training and held-out part, photographs, and images read as sequences."""
