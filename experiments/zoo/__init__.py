"""Real architectures with random weights, and whether surgery, probes and torch's own tools hold on them."""
