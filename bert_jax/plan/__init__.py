"""What a training job will need of a machine that nobody has rented yet."""
