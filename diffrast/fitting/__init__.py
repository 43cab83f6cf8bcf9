"""One descent for every job: shape, texture, material, pose."""
