"""The loop that every objective is trained by, and what people see of it."""
