"""How large a picture may be while the camera moves."""

from __future__ import annotations

BUDGET = 0.02  # seconds of drawing that such a picture may take
SCALES = (1.0, 0.75, 0.5, 0.35, 0.25)  # of its sides, to keep to that


class Pace:
    """Learns from each picture what a pixel costs."""

    def __init__(self) -> None:
        self.cost = 0.0  # seconds per pixel, smoothed over the pictures of movements

    def learn(self, seconds: float, pixels: int, moving: bool) -> None:
        if moving:
            self.cost += 0.2 * (seconds / pixels - self.cost)
        elif not self.cost:
            self.cost = seconds / pixels

    def size(self, width: int, height: int, moving: bool) -> tuple[int, int]:
        """What to draw of a window of this size."""
        if not moving:
            return width, height
        affordable = (BUDGET / (self.cost * width * height)) ** 0.5 if self.cost else 0.5
        scale = next((s for s in SCALES if s <= affordable), SCALES[-1])
        return max(16, round(width * scale)), max(16, round(height * scale))
