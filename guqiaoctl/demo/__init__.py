"""The demonstration: plays the main job from an empty folder to a verified proof, and judges it."""
