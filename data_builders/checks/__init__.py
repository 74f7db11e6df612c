"""What the checker of rows is made of: rules, origins and token lengths."""
