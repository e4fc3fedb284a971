"""What a project sets for itself: tracking plans and settings."""
