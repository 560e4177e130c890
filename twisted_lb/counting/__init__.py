"""What is counted in tables while connections walk, and the policies that count and compare."""
