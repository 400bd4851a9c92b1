"""What a dynamic convolution costs in time and memory beside a static one: ratios, side by side in one run."""
