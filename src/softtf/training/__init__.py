"""Learn one task: its data, the gradient loop, and the closed form."""
