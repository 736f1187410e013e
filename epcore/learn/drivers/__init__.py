"""What runs beside a student's code, in its process: calls that need objects which cannot travel. It holds no answers."""
