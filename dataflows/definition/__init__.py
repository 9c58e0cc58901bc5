"""What a definition says, checked, named, hashed and compiled to a plan."""
