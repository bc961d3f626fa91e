"""What makes a trained model smaller, faster, or able to run elsewhere."""
