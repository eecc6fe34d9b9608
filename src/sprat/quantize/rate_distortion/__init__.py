"""quantize/rate_distortion."""
