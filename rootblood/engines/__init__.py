"""What runs containers, behind one Protocol."""
